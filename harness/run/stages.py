"""A stage of an experiment, and the one rule for where its value is found or kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.config import ExperimentConfig
from harness.store.artifacts import ArtifactStore, Key, MemoryCache
from harness.store.codec import load, save

Value = TypeVar("Value")
Files = tuple[Callable[[Value, Path], None], Callable[[Path], Value]]


def files_of(kind: type[Value], *, mapped: bool = True) -> Files[Value]:
    """Return how a value of type `kind` is written to a folder by `harness.store.codec`, and how it is read."""
    return lambda value, folder: save(folder, value), lambda folder: load(folder, kind, mapped=mapped)


@dataclass(frozen=True, eq=False)
class Stage(Generic[Value]):
    """One step of an experiment; its key determines its value."""

    name: str
    identify: Callable[[], Key]  # returns the key; asked once, when something is looked up
    make: Callable[[], Any]  # computes the value, or what `save` writes of it
    # save, load: write it into an empty folder and read it back, every number the same bits; None: it is not stored
    save: Callable[[Any, Path], None] | None = None
    load: Callable[[Path], Value] | None = None
    needs: tuple[Stage[Any], ...] = ()  # what it is put together from, when it is not stored itself
    remembered: bool = False  # kept in memory for the next experiment of this process
    # only_shared, local: stored only where other processes need it; made by every process for itself
    only_shared: bool = False
    at: int = 0  # number among the stages of this name
    local: bool = False

    @cached_property
    def key(self) -> Key:
        return self.identify()


@dataclass(frozen=True, eq=False)
class Cache:
    """The memory of this process in front of the artifact store."""

    store: ArtifactStore  # holds finished values, so that a killed run resumes at the unfinished one
    # holds large values for the next experiment of this process
    memory: MemoryCache = field(default_factory=MemoryCache)
    shared: bool = False  # other processes work on the same experiments: what they need too goes through the store
    lone: bool = False  # no other experiment will ask for what is remembered: it need not be held

    @classmethod
    def of(
        cls, config: ExperimentConfig, memory: MemoryCache | None = None, *, shared: bool = False, lone: bool = False
    ) -> Cache:
        """Return that of the configured store."""
        return cls(ArtifactStore(Path(config.output.store)), memory or MemoryCache(), shared, lone)

    def get(self, stage: Stage[Value]) -> Value:
        """Return the value of a stage, from memory, from the store, or made now; what is stored is read back."""
        if stage.remembered:
            return self.memory.get(stage.name, stage.key.digest, lambda: self._stored(stage))
        return self._stored(stage)

    def holds(self, stage: Stage[Any]) -> bool:
        """Return whether the store has everything of a stage, without reading it."""
        if stage.needs:
            return min([self.holds(one) for one in stage.needs])  # all are asked for: each counts as used
        return self.store.holds(stage.key)

    def _stored(self, stage: Stage[Value]) -> Value:
        save, load = stage.save, stage.load
        if save is None or load is None or (stage.only_shared and not self.shared):
            value: Value = stage.make()
            return value
        return load(self.store.get_or_make(stage.key, lambda folder: save(stage.make(), folder)))

"""Which keys exist at a place of a composed tree: those of the class that stands there, and those that are written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.instantiate import hints_of, locate, record_of
from harness.config.records import ExperimentConfig
from harness.errors import ConfigError
from harness.store.records import TARGET


@dataclass(frozen=True)
class Place:
    """What stands at a key of a tree.

    Attributes
    ----------
    cls
        The class whose fields are the keys; None for a mapping that takes any name.
    written
        The keys that the tree holds there.
    """

    cls: type | None
    written: tuple[str, ...]

    @property
    def fields(self) -> dict[str, inspect.Parameter]:
        """The keys of the class; empty where there is none."""
        parameters = {} if self.cls is None else dict(inspect.signature(self.cls).parameters)
        return {n: p for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}

    @property
    def names(self) -> list[str]:
        """Every key that may be written here."""
        return list(dict.fromkeys([*self.fields, *(key for key in self.written if key != TARGET)]))


def place_of(tree: DictConfig, path: str) -> Place | None:
    """Return what stands at the dotted `path`; None where the tree holds no mapping, or its class cannot be found."""
    cls: type | None = ExperimentConfig
    node: Any = tree
    for part in path.split(".") if path else ():
        node = _child(node, part)
        if not isinstance(node, DictConfig):
            return None
        try:
            cls = _class_of(cls, part, node)
        except ConfigError:
            return None  # construction says what is wrong with it
    return Place(cls, tuple(str(key) for key in node))


def _child(node: Any, part: str) -> Any:
    try:
        return OmegaConf.select(node, part)
    except OmegaConfBaseException:
        return None


def _class_of(owner: type | None, part: str, node: DictConfig) -> type | None:
    target = OmegaConf.select(node, TARGET)
    if target is not None:
        return locate(target, TARGET)
    hints: Mapping[str, Any] = {} if owner is None else hints_of(owner)
    return record_of(hints.get(part, Any))

"""A finished run, and its pipeline again, part by part: on another panel, another table, or for one window alone."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from harness.config import ExperimentConfig
from harness.errors.limits import traits_of
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Observer
from harness.run.experiment import ExperimentResult
from harness.run.pipeline import Fitted, Pipeline
from harness.run.rolling import Recipe, WalkForward, collect, learning_segments
from harness.samples.interfaces import FittedPreprocess, History, Preprocess, PreprocessTraits, WindowPlan
from harness.samples.preprocess import apply
from harness.samples.table import SampleTable
from harness.samples.windows import Segment, Window

Item = TypeVar("Item")

# Raised by the interpreter itself; libraries that open files in C++ alone go unnoticed.
_OTHERS = {"socket.connect": "the network", "subprocess.Popen": "another program", "os.system": "another program"}
_CODE = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".nbi", ".nbc")
_CLOCK_TICK = 0.02  # seconds by which a file system's clock may lag
_SYSTEM = ("/proc", "/sys", "/dev", "/etc")


@dataclass
class Outside:
    """Records what is opened while a `Watched` object works."""

    seen: dict[str, None] = field(default_factory=dict)  # file, host or program, in the order of the first use
    _since: float = float("inf")
    _depth: int = 0

    def watch(self) -> None:
        """Hear the interpreter's audit events from now on; the hook stays, as Python cannot remove one."""
        self._since = time.time() - _CLOCK_TICK
        sys.addaudithook(self._hear)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Attribute what is opened inside to the code under audit."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._depth == 0:
            return
        if event in _OTHERS:
            self.seen.setdefault(_OTHERS[event])
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, flags = Path(os.fsdecode(arguments[0])).absolute(), arguments[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_CREAT)
            if not writes and _is_data(path) and not self._is_own(path):
                self.seen.setdefault(f"the file {path.name}")

    def _is_own(self, path: Path) -> bool:
        """Whether a file came to be while the code was watched: what it has written itself is no news from outside."""
        try:
            return path.stat().st_ctime >= self._since
        except OSError:
            return False


def _is_data(path: Path) -> bool:
    installed = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    in_library = any(path.is_relative_to(folder) for folder in (*installed, *_SYSTEM))
    return not in_library and path.suffix not in _CODE and not path.is_dir()


class Watched:
    """Stands for a model, a preprocess or an adaptation, or what its `fit` returned; its methods are watched."""

    def __init__(self, inner: Any, outside: Outside) -> None:
        self._inner, self._outside = inner, outside

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            with self._outside.working():
                result = found(*(vars(a)["_inner"] if isinstance(a, Watched) else a for a in arguments), **named)
            if isinstance(result, WindowPlan) and result.transform is not None:
                return replace(result, transform=Watched(result.transform, self._outside))
            return Watched(result, self._outside) if name in ("fit", "fit_from") else result

        return call


class ProgressOnly:
    """An observer that shows the progress of another, and none of what code has to say of data that are not real."""

    def __init__(self, inner: Observer) -> None:
        self.start, self.advance, self.finish = inner.start, inner.advance, inner.finish
        self.estimate = inner.estimate

    def notice(self, message: str) -> None: ...


def each(observer: Observer, stage: str, items: Collection[Item]) -> Iterator[Item]:
    """Yield the items, and tell the observer when one is done."""
    observer.start(stage, len(items))
    for item in items:
        yield item
        observer.advance(stage)
    observer.finish(stage)


@dataclass(frozen=True, eq=False)
class Replay:
    """A finished run, and the stages of its configuration, none of which keeps a window.

    `real` is the stages of the real panel, as the store holds them; `outside` records what the code under audit opens.
    """

    result: ExperimentResult
    real: Pipeline
    observer: Observer
    outside: Outside = field(default_factory=Outside)

    @property
    def config(self) -> ExperimentConfig:
        return self.result.config

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.result.windows

    @cached_property
    def predictions(self) -> Predictions:
        return self.result.predictions()

    @cached_property
    def fitted_once(self) -> tuple[int, FittedPreprocess, SampleTable] | None:
        """Where what the processors learn from ends, they, and their table; None when each window fits its own."""
        preprocess = self.config.preprocess
        if preprocess.refit != "once" or traits_of(preprocess, PreprocessTraits).restores_label:
            return None
        train, _ = learning_segments(self.windows[0], self.config.model)
        fitted = self.config.preprocess.fit(self.real.table.as_of(self.windows[0].decision), train)
        return train.stop, fitted, apply(self.real.table, fitted)

    def date(self, position: int) -> str:
        """Return the date of a calendar position, which may lie beyond the end."""
        calendar, last = self.real.panel.calendar, len(self.real.panel.calendar) - 1
        after = f" + {position - last} periods" if position > last else ""
        return calendar.format(min(position, last)) + after

    def adapt(self, table: SampleTable) -> Fitted:
        """Fit the adaptation anew, on everything that a run would show it."""
        history = History(
            as_of=table.as_of,
            windows=self.windows,
            segment=Segment(self.windows[0].train.start, self.windows[-1].learn_stop),
            step=self.config.windows.step,
            seed=self.config.seed,
            observer=self.observer,
        )
        return cast("Fitted", Watched(self.config.adaptation, self.outside).fit(history))

    def predict(self, table: SampleTable, adaptation: Fitted) -> Predictions:
        """Fit and predict all windows; each result is made now, none is read from a store."""
        recipe = self._recipe(adaptation)
        return WalkForward(table, self.windows, recipe, observer=self.observer).run().predictions

    def predict_one(
        self, table: SampleTable, index: int, adaptation: Fitted, preprocess: Preprocess | None = None
    ) -> Predictions:
        """Fit and predict window `index` as a whole run does; `preprocess` stands in for the configured one."""
        first, wanted = self.windows[0], self.windows[index]
        # Processors that are fitted once are fitted for the first window, so it comes along; its test segment is
        # stretched to close the gap, which changes nothing that is fitted.
        before = () if index == 0 else (replace(first, test=Segment(first.test.start, wanted.test.start)),)
        chosen, recipe = (*before, wanted), self._recipe(adaptation, preprocess)
        if (walk := WalkForward(table, self.windows[: index + 1], recipe)).chained:
            return collect(table, chosen[-1:], walk.score(index).score)
        scored = WalkForward(table, chosen, recipe).score(len(chosen) - 1)
        return collect(table, chosen[-1:], scored.score)

    def _recipe(self, adaptation: Fitted, preprocess: Preprocess | None = None) -> Recipe:
        parts = (preprocess or self.config.preprocess, self.config.model)
        watched, model = (cast("Any", Watched(part, self.outside)) for part in parts)
        return Recipe(preprocess=watched, adaptation=adaptation, model=model, step=self.config.windows.step)

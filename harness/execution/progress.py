"""Who is told about progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Observer(Protocol):
    """Told about progress; returns nothing, so that it cannot change a number."""

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` units of work."""
        ...

    def advance(self, stage: str, done: int = 1) -> None:
        """Count `done` more units as finished."""
        ...

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        """Say anew how many units there are in all, and how long the rest will take, at least or about."""
        ...

    def finish(self, stage: str, note: str = "") -> None:
        """End the stage; `note` says what came of it."""
        ...

    def notice(self, message: str) -> None:
        """Tell the user something."""
        ...


class Silent:
    """An observer that ignores everything."""

    def start(self, stage: str, total: int) -> None:
        """Ignore."""

    def advance(self, stage: str, done: int = 1) -> None:
        """Ignore."""

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        """Ignore."""

    def finish(self, stage: str, note: str = "") -> None:
        """Ignore."""

    def notice(self, message: str) -> None:
        """Ignore."""


@contextmanager
def telling(observer: Observer, stage: str) -> Iterator[None]:
    """Tell the observer of a stage that is one piece of work; one that goes wrong is never finished."""
    observer.start(stage, 1)
    yield
    observer.finish(stage)

"""What one process keeps in memory from one experiment to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar, cast

Value = TypeVar("Value")


class Shelf:
    """The most recently used results of each stage, by digest; it changes how long things take, never a number.

    Parameters
    ----------
    most
        Results kept per stage. The largest, a processed feature matrix, has the size of the raw one.
    """

    def __init__(self, most: int = 3) -> None:
        self._most = most
        self._kept: dict[str, OrderedDict[str, object]] = {}

    def get(self, stage: str, digest: str, make: Callable[[], Value]) -> Value:
        """Return the result of `stage` under `digest`, made by `make` when it is not there."""
        kept = self._kept.setdefault(stage, OrderedDict())
        if digest not in kept:
            made = make()
            kept[digest] = made
            while len(kept) > self._most:
                kept.popitem(last=False)
        kept.move_to_end(digest)
        return cast("Value", kept[digest])

"""How the kernels of features are compiled: IEEE arithmetic in the written order, a division by zero is no error."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from harness.store import compiled as compiling

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` compiled at its first call."""
    return compiling.compiled(error_model="numpy")(function)

"""What a fit leaves behind is noticed when it can hold what was learned, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.audit.audit import changed_numbers, kept_data, numbers_of

CACHE: dict[str, Any] = {}
SCALE = 1.5


@dataclass
class Part:
    alpha: float = 0.5
    own: list[Any] = field(default_factory=list)
    shared: ClassVar[dict[int, Any]] = {}

    def fit(self) -> float:
        return SCALE * len(CACHE)


@pytest.fixture(autouse=True)
def empty() -> None:
    CACHE.clear()
    Part.shared.clear()


@pytest.mark.parametrize(
    ("leave", "where"),
    [
        (lambda part: CACHE.update(weight=0.25), "CACHE"),
        (lambda part: CACHE.update(nested={"of": [(1, 0.25)]}), "CACHE"),
        (lambda part: CACHE.update(theta=np.float32(0.25)), "CACHE"),
        (lambda part: part.shared.update({1: np.arange(3)}), "Part.shared"),
        (lambda part: part.own.append(1e-9), "self.own"),
        (lambda part: setattr(part, "alpha", 0.75), "self.alpha"),
    ],
)
def test_numbers_that_a_fit_leaves_in_a_variable_are_named(leave: Callable[[Part], None], where: str) -> None:
    part = Part()
    before = numbers_of(part)
    leave(part)
    (finding,) = changed_numbers(before, numbers_of(part))
    assert finding.where == f"{__name__}: {where}"
    assert kept_data(part) == (), "too few to be called data"


@pytest.mark.parametrize(
    "leave",
    [
        lambda part: None,
        lambda part: CACHE.update(calls=3, names=["a", "b"], seen=True),
        lambda part: CACHE.update(function=np.mean, kind=float),
    ],
)
def test_counters_names_and_functions_are_no_knowledge(leave: Callable[[Part], None]) -> None:
    part = Part()
    before = numbers_of(part)
    leave(part)
    assert changed_numbers(before, numbers_of(part)) == ()

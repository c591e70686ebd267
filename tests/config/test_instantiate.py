"""Objects from plain data: the signature is the schema, and every mistake names its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import pytest

from harness.config.instantiate import build, build_record
from harness.errors import ConfigError
from harness.store.records import describe, modules_of

HERE = __name__


class Named(Protocol):
    def name(self) -> str: ...


@dataclass(frozen=True)
class Inner:
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ConfigError("Alpha must not be negative.", where="alpha", got=self.alpha, expected="≥ 0")

    def name(self) -> str:
        return "inner"


@dataclass(frozen=True)
class Outer:
    step: int
    kind: Literal["a", "b"] = "a"
    dates: tuple[str, str] | None = None
    parts: tuple[Named, ...] = ()
    inner: Inner | None = None
    extra: dict[str, float] = field(default_factory=dict)
    flag: bool = False
    cells: dict[str, Inner] = field(default_factory=dict)
    pair: tuple[Inner, int] | None = None


def make(**given: object) -> object:
    return build({"_target_": f"{HERE}.Outer", "step": 20, **given}, "outer")


def test_plain_values_become_typed_fields() -> None:
    made = make(kind="b", dates=["2017-01-03", "2017-02-01"], extra={"x": 1}, flag=True)
    assert made == Outer(20, "b", ("2017-01-03", "2017-02-01"), extra={"x": 1.0}, flag=True)


def test_nested_targets_become_objects() -> None:
    made = make(parts=[{"_target_": f"{HERE}.Inner", "alpha": 2}], inner={"alpha": 3})
    assert made == Outer(20, parts=(Inner(2.0),), inner=Inner(3.0))


@pytest.mark.parametrize(
    ("given", "where", "message"),
    [
        ({"stp": 5}, "outer.stp", "did you mean `step`?"),
        ({"step": "many"}, "outer.step", "whole number"),
        ({"step": 2.5}, "outer.step", "whole number"),
        ({"step": True}, "outer.step", "whole number"),
        ({"kind": "c"}, "outer.kind", "a | b"),
        ({"dates": ["2017-01-03"]}, "outer.dates", "got"),
        ({"extra": {"x": "y"}}, "outer.extra", "number"),
        ({"inner": {"alpha": -1}}, "outer.inner.alpha", "≥ 0"),
        ({"inner": {"beta": 1}}, "outer.inner.beta", "alpha"),
        ({"parts": [{"_target_": f"{HERE}.Innr"}]}, "outer.parts[0]._target_", "did you mean `Inner`?"),
        ({"parts": [{"_target_": "no.such.module.Thing"}]}, "outer.parts[0]._target_", "PYTHONPATH"),
        ({"parts": [{"_target_": 5}]}, "outer.parts[0]._target_", "dotted name"),
        ({"parts": [5]}, "outer.parts[0]", "Named"),
        ({"parts": [{"_target_": f"{HERE}.Inner"}, 5]}, "outer.parts[1]", "object (Named)"),
        ({"parts": [{"_target_": f"{HERE}.Inner"}, [1]]}, "outer.parts[1]", "object (Named)"),
        ({"parts": [{"_target_": f"{HERE}.Inner"}, None]}, "outer.parts[1]", "object (Named)"),
        ({"cells": {"x": {"alpha": 1}, "y": 5}}, "outer.cells.y", "alpha"),
        ({"pair": [{"alpha": 1}, "many"]}, "outer.pair[1]", "whole number"),
    ],
)
def test_a_mistake_names_its_key_and_what_would_be_accepted(given: dict[str, object], where: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**given)
    assert str(caught.value.where).startswith(where)
    assert message in str(caught.value)


def test_objects_and_plain_values_may_stand_in_one_list_where_each_has_its_type() -> None:
    assert make(pair=[{"alpha": 1}, 3], cells={"x": {"alpha": 2}}).__dict__ == {
        **Outer(20).__dict__,
        "pair": (Inner(1.0), 3),
        "cells": {"x": Inner(2.0)},
    }


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"lacks `outer\.step`"):
        build({"_target_": f"{HERE}.Outer"}, "outer")


def test_an_object_of_the_wrong_kind_is_refused_with_what_it_lacks() -> None:
    @dataclass(frozen=True)
    class Holder:
        thing: Named

    with pytest.raises(ConfigError, match="lacks name"):
        build_record(Holder, {"thing": {"_target_": f"{HERE}.Outer", "step": 1}}, "holder")


def test_the_modules_of_nested_objects_are_found_too() -> None:
    made = build({"a": [{"_target_": "harness.samples.windows.Segment", "start": 0, "stop": 1}, make()]})
    assert modules_of(made) == ("harness.samples.windows", HERE)


def test_describing_and_building_again_gives_an_equal_object() -> None:
    made = make(parts=[{"_target_": f"{HERE}.Inner", "alpha": 2}], inner={"alpha": 3}, dates=["a", "b"])
    assert build(describe(made), "") == made

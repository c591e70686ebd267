"""Every number of every class that a file names has limits; a value outside is refused by its key, value and range."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from harness.config import ExperimentConfig, compose_config, config_folder
from harness.config.compose import main_groups
from harness.config.instantiate import build_record, hints_of, locate, record_of
from harness.config.schema import experiment_schema
from harness.errors import ConfigError
from harness.errors.limits import kinds
from harness.store.records import TARGET, join_key

NEEDED = {"data=tabular": ["data.path=x"], "data=qlib_bin": ["data.path=x"]}
GROUPS = sorted(set(main_groups()) - {"experiment"})
CHOICES = [f"{g}={p.stem}" for g in GROUPS for p in sorted((config_folder() / g).glob("*.yaml"))]
BAD: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, 1e22, -1e22, -1, 0, True, False, 10**30, -(10**30), 10**400),
    *("abc", "", "nan", "inf", "-Infinity", "1e400", [], [1], {}, {"a": 1}),
)
# Dates may be written as numbers: 2012 is a year, 20120104 a day. They are read by `harness.data.dates`.
DATES = (
    *("WindowsConfig.train", "WindowsConfig.valid", "WindowsConfig.test", "SyntheticMarket.start"),
    "DDGDA.meta_1st_train_end",
)


def numbers_in(hint: Any) -> list[Any]:
    """Return the types of numbers in a type, those in lists too."""
    if typing.get_origin(hint) is typing.Annotated:
        return [hint] if kinds(hint)[0] in (int, float) else []
    if hint in (int, float):
        return [hint]
    is_open = typing.get_origin(hint) in (dict, Mapping) or hasattr(typing.get_origin(hint), "keys")
    return [] if is_open else [found for part in typing.get_args(hint) for found in numbers_in(part)]


def places(cls: type, node: Mapping[str, Any], path: str) -> Iterator[tuple[type, Mapping[str, Any], str]]:
    """Yield every object in a composed tree: its class, its values, its key."""
    yield cls, node, path
    for name, value in node.items():
        hint = hints_of(cls).get(name, Any)
        for at, item in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(item, Mapping):
                continue
            key = join_key(path, name) + (f"[{at}]" if isinstance(value, list) else "")
            inner = locate(item[TARGET], key) if TARGET in item else record_of(hint)
            if inner is not None:
                yield from places(inner, {k: v for k, v in item.items() if k != TARGET}, key)


Number = tuple[type, Mapping[str, Any], str, str]


@pytest.fixture(scope="module")
def numbers() -> dict[str, tuple[str, Number]]:
    """Return class and field → the group of the first choice in whose tree it stands, and where it stands there."""
    found: dict[str, tuple[str, Number]] = {}
    for choice in CHOICES:
        tree = json.loads(compose_config([choice, *NEEDED.get(choice, [])]).composed)
        for cls, node, path in places(ExperimentConfig, tree, ""):
            for name, hint in hints_of(cls).items():
                if numbers_in(hint) and f"{cls.__name__}.{name}" not in DATES:
                    group = choice.partition("=")[0]
                    found.setdefault(f"{cls.__name__}.{name}", (group, (cls, node, path, name)))
    return found


def test_the_walk_finds_the_numbers_of_all_groups(numbers: dict[str, tuple[str, Number]]) -> None:
    assert len(numbers) > 90
    for known in (
        "ExperimentConfig.seed",
        "GbdtParameters.rounds",
        "TopkDropout.topk",
        "Mlflow.timeout",
        "MLP.hidden_sizes",
    ):
        assert known in numbers


@pytest.mark.parametrize("group", GROUPS)
def test_a_number_has_a_limit_at_both_ends(group: str, numbers: dict[str, tuple[str, Number]]) -> None:
    for number, (first, (cls, _, _, name)) in numbers.items():
        if first == group:
            for hint in numbers_in(hints_of(cls)[name]):
                kinds = {type(bound).__name__[0] for bound in typing.get_args(hint)[1:]}
                assert kinds == {"G", "L"}, f"{number}: {hint}"


@pytest.mark.parametrize("group", GROUPS)
def test_a_bad_number_is_refused_by_its_key_or_lies_within_the_limits(
    group: str, numbers: dict[str, tuple[str, Number]]
) -> None:
    for first, number in numbers.values():
        if first == group:
            for bad in BAD:
                _is_refused_or_within(number, bad)


def _is_refused_or_within(number: Number, bad: Any) -> None:
    cls, node, path, name = number
    key = join_key(path, name)
    hint = hints_of(cls)[name]
    for value in [bad] if typing.get_origin(hint) is not tuple else [bad, [bad] * len(node.get(name) or [0])]:
        made, refusal = outcome(cls, {**node, name: value}, path)
        if refusal is None:
            assert within(hint, getattr(made, name)), f"{key}={value!r} was accepted as {getattr(made, name)!r}"
        else:
            assert str(refusal.where).startswith(path.partition("[")[0]), refusal
            assert refusal.expected, refusal
            assert name in str(refusal), refusal


def outcome(cls: type, node: Mapping[str, Any], path: str) -> tuple[object, ConfigError | None]:
    """Return the object, or why it is refused."""
    try:
        return build_record(cls, node, path), None
    except ConfigError as error:
        return None, error


def within(hint: Any, value: Any) -> bool:
    """Return whether what was made of a value is a number within the limits, or no number at all."""
    if isinstance(value, tuple):
        return all(within(hint, item) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value is None or isinstance(value, str | tuple) or not numbers_in(hint)
    signs = {"Ge": value.__ge__, "Gt": value.__gt__, "Le": value.__le__, "Lt": value.__lt__}
    return math.isfinite(value) and any(
        all(signs[type(b).__name__](getattr(b, type(b).__name__.lower())) for b in typing.get_args(part)[1:])
        for part in numbers_in(hint)
    )


def test_the_schema_shows_the_limits() -> None:
    schema = experiment_schema()["$defs"]["baselines.models.LightGBM"]["properties"]["learning_rate"]
    assert {"type": "number", "exclusiveMinimum": 0, "maximum": 1e12} in schema["anyOf"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_a_users_own_class_gets_finite_numbers_without_asking(value: str) -> None:
    with pytest.raises(ConfigError, match="finite") as caught:
        build_record(Own, {"alpha": float(value), "name": "x"}, "model")
    assert caught.value.where == "model.alpha"


class Own:
    """A class of a user's own, without a check."""

    def __init__(self, alpha: float, name: str) -> None:
        self.alpha = alpha


def test_a_number_of_thousands_of_digits_is_refused_like_any_other() -> None:
    with pytest.raises(ConfigError):
        compose_config([f"windows.step={'9' * 5000}"])

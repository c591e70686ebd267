"""Records become files and come back as they were."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from harness.store.codec import from_plain, load, plain, save

Doubles = npt.NDArray[np.float64]


class Phase(StrEnum):
    EARLY = "early"


@dataclass(frozen=True, eq=False)
class Inner:
    values: Doubles
    limit: float
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError("negative")


@dataclass(frozen=True, eq=False)
class Outer:
    inner: Inner | None
    parts: tuple[Inner, ...]
    fields: Mapping[str, npt.NDArray[np.float32]]
    times: npt.NDArray[np.datetime64]
    made: datetime.datetime
    phase: Phase
    pair: tuple[int, str] = (0, "")


def _outer() -> Outer:
    inner = Inner(np.array([0.1, np.nan, -0.0]), 0.1, ("a", "b"))
    return Outer(
        inner=inner,
        parts=(inner, Inner(np.empty((0, 3)), float("inf"))),
        fields={"$z/..": np.eye(2, dtype=np.float32), "a": np.ones((1, 2), np.float32)},
        times=np.array(["2020-01-01"], dtype="datetime64[ns]"),
        made=datetime.datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC),
        phase=Phase.EARLY,
        pair=(3, "ü"),
    )


@pytest.mark.parametrize("mapped", [True, False])
def test_nested_records_come_back_bit_for_bit(tmp_path: Path, mapped: bool) -> None:
    saved = _outer()
    save(tmp_path, saved)
    again = load(tmp_path, Outer, mapped=mapped)
    assert (again.made, again.phase, again.pair) == (saved.made, saved.phase, saved.pair)
    assert again.inner is not None
    assert again.inner.names == ("a", "b")
    assert again.parts[1].limit == float("inf")
    assert again.parts[1].values.shape == (0, 3)
    assert list(again.fields) == ["$z/..", "a"]
    assert again.inner.values.tobytes() == _outer().parts[0].values.tobytes()
    assert again.times.dtype == "datetime64[ns]"
    assert again.times[0] == saved.times[0]
    assert isinstance(again.inner.values, np.memmap) is mapped
    assert again.inner.values.flags.writeable is not mapped


def test_arrays_and_mappings_alone_are_values_too(tmp_path: Path) -> None:
    save(tmp_path, np.arange(3.0), "one")
    save(tmp_path, {"a": np.arange(2.0), "b": np.ones(1)}, "two")
    assert load(tmp_path, np.ndarray, "one").tolist() == [0.0, 1.0, 2.0]
    assert load(tmp_path, dict[str, Doubles], "two")["b"].tolist() == [1.0]


def test_equal_values_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(tmp_path / name, _outer())
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1]
    assert len(files[0]) == 7


def test_what_is_of_another_type_is_refused(tmp_path: Path) -> None:
    save(tmp_path, {"values": "no array", "limit": 1.0})
    with pytest.raises(ValueError, match="ndarray"):
        load(tmp_path, Inner)
    with pytest.raises(ValueError, match="negative"):
        from_plain(Inner, {"values": np.zeros(1), "limit": -1.0})
    with pytest.raises(TypeError, match="object has no place"):
        plain(object())


def test_nothing_is_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        save(tmp_path, np.array([object()]))

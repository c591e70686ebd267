from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel, Truth
from harness.errors import DataError
from tests.data.small_panel import CODES, small_panel


def test_arrays_and_the_mapping_of_fields_cannot_be_changed():
    panel = small_panel()
    with pytest.raises(ValueError, match="read-only"):
        panel.fields["close"][0, 0] = 1.0
    with pytest.raises(TypeError):
        panel.fields["close"] = panel.fields["open"]  # type: ignore[index]


def test_traded_means_that_there_is_a_price():
    assert not small_panel().traded[2, 1]
    assert small_panel().traded.sum() == 18 - 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruments": tuple(reversed(CODES))}, "sorted and unique"),
        ({"instruments": (CODES[0], CODES[0], CODES[1])}, "sorted and unique"),
        ({"price_field": "last"}, "price field"),
        ({"fields": {"close": np.zeros((6, 2), dtype=np.float32)}}, "float32 (6, 2)"),
        ({"fields": {"close": np.zeros((6, 3))}}, "float64 (6, 3)"),
        ({"membership": np.ones((6, 3), dtype=np.int8)}, "int8 (6, 3)"),
        ({"benchmark": Benchmark("X", np.zeros(5, dtype=np.float32))}, "one value per time"),
    ],
    ids=["unsorted", "repeated", "price field", "shape", "dtype", "membership", "benchmark"],
)
def test_arrays_that_disagree_are_refused(change, message):
    with pytest.raises(DataError) as caught:
        replace(small_panel(), **change)
    assert message in str(caught.value)


def _changed(name: str) -> Panel:
    panel = small_panel()
    match name:
        case "value":
            close = panel.fields["close"].copy()
            close[5, 2] *= 2
            return replace(panel, fields={**panel.fields, "close": close})
        case "presence":
            close = panel.fields["close"].copy()
            close[5, 2] = np.nan
            return replace(panel, fields={**panel.fields, "close": close})
        case "membership":
            membership = panel.membership.copy()
            membership[0, 2] = True
            return replace(panel, membership=membership)
        case "calendar":
            return replace(panel, calendar=Calendar(panel.calendar.times + np.timedelta64(1, "D")))
        case "instruments":
            return replace(panel, instruments=("SH600000", "SH600004", "SZ000002"))
        case "field name":
            return replace(panel, fields={k.replace("open", "opening"): v for k, v in panel.fields.items()})
        case "price field":
            return replace(panel, price_field="open")
        case "benchmark":
            return replace(panel, benchmark=Benchmark("SH000300", np.zeros(6, dtype=np.float32)))
        case "benchmark name":
            assert panel.benchmark is not None
            return replace(panel, benchmark=Benchmark("SH000905", panel.benchmark.close))
        case "no benchmark":
            return replace(panel, benchmark=None)
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name",
    [
        "value",
        "presence",
        "membership",
        "calendar",
        "instruments",
        "field name",
        "price field",
        "benchmark",
        "benchmark name",
        "no benchmark",
    ],
)
def test_any_change_of_content_changes_the_fingerprint(name):
    assert _changed(name).fingerprint != small_panel().fingerprint


def test_the_name_is_not_content():
    assert replace(small_panel(), name="other").fingerprint == small_panel().fingerprint


def test_expected_return_adds_up_decaying_exposures():
    truth = Truth(
        exposures=np.array([[[1.0, -2.0]], [[0.5, 4.0]]], dtype=np.float32),  # J=2, T=1, N=2
        decay=np.array([0.5, 1.0]),
        premia=np.array([[[0.1, 1.0], [0.2, 1.0], [0.4, 2.0]]]),  # T=1, K=3, J=2
    )
    # Steps 2 and 3: factor 0 pays 0.2 · 0.5 + 0.4 · 0.25 = 0.2, factor 1 pays 1 + 2 = 3.
    np.testing.assert_allclose(truth.expected_return(2, 3), [[0.2 * 1 + 3 * 0.5, 0.2 * -2 + 3 * 4]], rtol=1e-6)
    steps = sum(truth.expected_return(k, k) for k in (1, 2, 3))
    np.testing.assert_allclose(truth.expected_return(1, 3), steps, rtol=1e-6)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 1), (1, 4)])
def test_expectations_beyond_what_is_known_are_refused(first, last):
    truth = Truth(np.zeros((1, 1, 1), dtype=np.float32), np.ones(1), np.zeros((1, 3, 1)))
    with pytest.raises(DataError, match="that far ahead"):
        truth.expected_return(first, last)


def test_a_negative_zero_is_a_zero_as_it_is_to_the_fingerprint():
    def panel_of(zero):
        fields = {"close": np.array([[1.0], [2.0]], np.float32), "x": np.array([[zero], [np.nan]], np.float32)}
        return Panel(Calendar(np.array(["2020-01-01", "2020-01-02"], "M8[ns]")), ("A",), fields, np.ones((2, 1), bool))

    one, other = panel_of(0.0), panel_of(-0.0)
    assert one.fingerprint == other.fingerprint
    assert not np.signbit(other.fields["x"][0, 0])
    assert not other.fields["x"].flags.writeable

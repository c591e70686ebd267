from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.data.panel import Benchmark
from harness.data.validation import check_panel, describe, validate
from harness.errors import DataError
from tests.data.small_panel import small_panel


def _with(name, value, *places):
    panel = small_panel()
    values = panel.fields[name].copy()
    for place in places:
        values[place] = value
    return replace(panel, fields={**panel.fields, name: values})


def test_a_sound_panel_passes_unchanged():
    panel = small_panel()
    assert check_panel(panel, where="x") is panel


@pytest.mark.parametrize(
    ("panel", "message", "row"),
    [
        (_with("high", 1.0, (0, 0), (4, 2)), "2 rows have high < low", "2020-01-01 SH600000 high=1 low="),
        (_with("close", 0.0, (5, 1)), "1 values of `close` are not positive", "2020-01-06 SH600004 close=0"),
        (_with("open", -3.0, (0, 1)), "1 values of `open` are not positive", "2020-01-01 SH600004 open=-3"),
        (_with("volume", -1.0, (0, 1)), "1 volumes are negative", "2020-01-01 SH600004 volume=-1"),
        (_with("volume", np.inf, (0, 1)), "1 values of `volume` are infinite", "2020-01-01 SH600004 volume=inf"),
        (_with("close", np.nan, slice(None)), "not a single price", "`close`"),
    ],
    ids=["high below low", "zero price", "negative price", "negative volume", "infinite", "no price"],
)
def test_impossible_values_are_refused_with_their_count_and_first_rows(panel, message, row):
    with pytest.raises(DataError) as caught:
        check_panel(panel, where="file.parquet")
    assert message in str(caught.value)
    assert row in str(caught.value)
    assert caught.value.where == "file.parquet"


def test_at_most_five_rows_are_shown():
    with pytest.raises(DataError) as caught:
        check_panel(_with("close", -1.0, (slice(None), slice(0, 2))), where="x")
    assert "12 values" in str(caught.value)
    assert str(caught.value).count("close=-1") == 5


def test_fields_of_other_names_may_be_zero_or_negative():
    panel = small_panel()
    check_panel(replace(panel, fields={**panel.fields, "temperature": -panel.fields["close"]}), where="x")


def test_members_without_any_price_and_a_benchmark_elsewhere_are_refused():
    panel = small_panel()
    nobody = replace(panel, membership=~panel.traded)
    with pytest.raises(DataError, match="no member ever has a price"):
        check_panel(nobody, where="x")
    silent = replace(panel, benchmark=Benchmark("SH000300", np.full(6, np.nan, dtype=np.float32)))
    with pytest.raises(DataError, match="benchmark and the panel do not overlap"):
        check_panel(silent, where="x")


@pytest.mark.parametrize("level", [0.0, -5.0, np.inf, -np.inf])
def test_a_benchmark_level_that_gives_no_return_is_refused_and_never_one_of_minus_everything(level):
    levels = np.array([100.0, 101.0, level, np.nan, 102.0, 103.0], dtype=np.float32)
    panel = replace(small_panel(), benchmark=Benchmark("SH000300", levels))
    with pytest.raises(DataError, match=r"1 level\(s\) of the benchmark SH000300 are not positive numbers") as caught:
        check_panel(panel, where="x")
    assert f"2020-01-03 {level:g}" in str(caught.value)
    if np.isfinite(level):
        check_panel(panel, where="x", any_sign=True)


def test_a_sound_panel_has_findings_only_where_a_member_did_not_trade():
    assert [(finding.what, finding.count, finding.examples) for finding in validate(small_panel())] == [
        ("members have no price at that time", 1, ("2020-01-03 SH600004",))
    ]


@pytest.mark.parametrize(
    ("panel", "what", "count"),
    [
        (_with("open", 50.0, (0, 0), (1, 0)), "`open` lies outside low … high", 2),
        (_with("volume", 0.0, (0, 0)), "prices come without volume", 1),
        (_with("close", np.nan, (slice(None), 2)), "instruments never trade", 1),
        (_with("close", np.nan, (4, slice(None))), "times have no price at all", 1),
        (
            _with("close", np.nan, (slice(4, None), slice(None))),
            "times lie after the last price: the calendar goes on where nothing can be tested",
            2,
        ),
        (
            _with("close", np.nan, (slice(0, 3), slice(None))),
            "times lie before the first price: the calendar begins too early",
            3,
        ),
        (
            replace(small_panel(), benchmark=Benchmark("X", np.array([1, np.nan, 1, 1, 1, 1], dtype=np.float32))),
            "times lack a benchmark level",
            1,
        ),
    ],
)
def test_oddities_are_counted_not_refused(panel, what, count):
    assert {finding.what: finding.count for finding in validate(panel)}[what] == count


def test_an_extreme_move_is_found_across_a_suspension():
    panel = _with("close", 1000.0, (slice(3, None), 1))
    finding = next(finding for finding in validate(panel) if "±50" in finding.what)
    assert finding.count == 1
    assert finding.examples == ("2020-01-04 SH600004 close=1000",)


def test_the_description_counts_samples_not_cells():
    told = describe(small_panel())
    assert (told["times"], told["instruments"], told["prices"], told["rows"]) == (6, 3, 14, 13)
    assert (told["first"], told["last"], told["frequency"]) == ("2020-01-01", "2020-01-06", "daily, every day")
    assert told["members_per_time"] == {"min": 1, "median": 2.5, "max": 3}
    assert told["missing"] == {"close": 0.0, "high": 0.0, "low": 0.0, "open": 0.0, "volume": 0.0}
    assert told["benchmark"] == "SH000300"
    assert told["fingerprint"] == small_panel().fingerprint
    hourly: dict[str, Any] = describe(small_panel(hourly=True))
    assert hourly["periods_per_year"] > 1000

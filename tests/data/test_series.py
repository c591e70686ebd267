"""Sets of series: regular calendars, hours that clocks repeat or leave out, fields known before their time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.audit.poison import poison
from harness.data.clock import CALENDAR_FIELDS
from harness.data.panel import ALWAYS, Panel
from harness.data.series import SeriesFormat
from harness.data.source import truncate
from harness.data.sources.tabular import TabularSource
from harness.data.validation import validate
from harness.errors import ConfigError, DataError, LookAheadError
from harness.features.engine import check_fields, compute_expression
from harness.features.expression import look_ahead, parse
from harness.features.feature_set import Expressions

COLUMNS = {"time": "time", "instrument": "zone", "load": "load"}


def _source(folder: Path, times: list[str], *, columns: dict[str, str] | None = None, **series: Any) -> TabularSource:
    """Return a source of two zones, the second of which begins a time later; `wind` is a forecast."""
    stamps = pd.to_datetime(pd.Series(times))
    frames = []
    for zone, skip in (("A", 0), ("B", 1)):
        values = np.arange(len(times), dtype=np.float32)[skip:] + 10
        own = {"time": stamps[skip:], "zone": zone, "load": values, "wind": np.sin(1.7 * values)}
        frames.append(pd.DataFrame(own))
    pd.concat(frames).to_parquet(folder / "load.parquet", index=False)
    given = {**COLUMNS, "wind": "wind"} if columns is None else columns
    return TabularSource(
        path=str(folder / "load.parquet"),
        columns=given,
        price_field="load",
        series=SeriesFormat(**series),
    )


def _panel(folder: Path, periods: int = 96, **series: Any) -> Panel:
    times = [str(time) for time in pd.date_range("2020-03-28", periods=periods, freq="h")]
    return _source(folder, times, **series).load()


def test_an_hour_that_is_missing_has_its_time_on_a_regular_calendar(tmp_path: Path) -> None:
    panel = _source(tmp_path, ["2020-03-29 01:00", "2020-03-29 03:00", "2020-03-29 04:00"], every="1h").load()
    assert panel.calendar.texts[1] == "2020-03-29 02:00:00"
    assert np.isnan(panel.fields["load"][1]).all()
    assert panel.fields["load"][:, 0].tolist()[2:] == [11.0, 12.0]


def test_validation_names_series_that_begin_late_and_hours_that_are_missing(tmp_path: Path) -> None:
    panel = _source(tmp_path, ["2020-03-29 01:00", "2020-03-29 03:00", "2020-03-29 04:00"], every="1h").load()
    found = {finding.what: finding for finding in validate(panel)}
    assert found["series begin after the first time"].examples == ("B 2020-03-29T03:00",)
    assert found["times within a series have no value"].examples == ("2020-03-29T02:00 A",)


def test_quarter_hours_make_a_regular_calendar_too(tmp_path: Path) -> None:
    panel = _source(tmp_path, ["2020-01-01 00:15", "2020-01-01 00:30", "2020-01-01 01:15"], every="15min").load()
    assert len(panel.calendar) == 5


def test_a_time_between_two_of_a_regular_calendar_is_refused_by_name(tmp_path: Path) -> None:
    source = _source(tmp_path, ["2020-01-01 01:00", "2020-01-01 01:20", "2020-01-01 03:00"], every="1h")
    with pytest.raises(DataError, match="1 time") as caught:
        source.load()
    assert "2020-01-01 01:20" in str(caught.value.got)


def test_an_hour_that_clocks_repeat_is_the_mean_of_both_where_that_is_asked_for(tmp_path: Path) -> None:
    times = ["2020-10-25 01:00", "2020-10-25 02:00", "2020-10-25 02:00", "2020-10-25 03:00"]
    with pytest.raises(DataError, match="another row has too"):
        _source(tmp_path, times).load()
    load = _source(tmp_path, times, repeated="mean").load().fields["load"]
    assert load[:, 0].tolist() == [10.0, 11.5, 13.0]
    assert load[1:, 1].tolist() == [11.5, 13.0]
    with pytest.raises(DataError, match="another row has too"):
        _source(tmp_path, [*times[:2], *times[1:]], repeated="mean").load()


def test_zoned_times_on_a_local_clock_lose_an_hour_in_spring_and_share_one_in_autumn(tmp_path: Path) -> None:
    times = pd.date_range("2020-10-31 22:00", "2020-11-01 10:00", freq="h", tz="UTC")
    frame = pd.DataFrame({"time": times, "zone": "A", "load": np.arange(times.size, dtype=np.float32)})
    frame.to_parquet(tmp_path / "load.parquet", index=False)
    series = SeriesFormat(every="1h", repeated="mean")
    source = TabularSource(
        path=str(tmp_path / "load.parquet"),
        columns=COLUMNS,
        price_field="load",
        timezone="America/New_York",
        series=series,
    )
    panel = source.load()
    at = panel.calendar.texts.index("2020-11-01 01:00:00")
    assert panel.fields["load"][at, 0] == 7.5  # 05:00 and 06:00 UTC
    assert len(panel.calendar) == times.size - 1


def test_fields_of_the_calendar_say_hour_weekday_and_holiday_of_every_time(tmp_path: Path) -> None:
    panel = _panel(
        tmp_path, calendar=("hour", "weekday", "month", "holiday", "hour_sin"), holidays="DE", periods=24 * 18
    )
    at = panel.calendar.texts.index("2020-04-13 06:00:00")  # Easter Monday
    found = {name: float(panel.fields[name][at, 1]) for name in ("hour", "weekday", "month", "holiday", "hour_sin")}
    assert found == {"hour": 6.0, "weekday": 0.0, "month": 4.0, "holiday": 1.0, "hour_sin": 1.0}
    assert panel.known_ahead["holiday"] == ALWAYS
    assert set(CALENDAR_FIELDS) >= {"yearday", "hour_cos", "year_sin", "year_cos"}


@pytest.mark.parametrize(
    ("series", "where"),
    [
        ({"every": "often"}, "data.series.every"),
        ({"every": "-1h"}, "data.series.every"),
        ({"calendar": ("hours",)}, "data.series.calendar"),
        ({"holidays": "US"}, "data.series.holidays"),
    ],
    ids=str,
)
def test_what_cannot_be_a_series_format_names_its_key(series: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SeriesFormat(**series)
    assert str(caught.value.where).startswith(where)


def test_unknown_holidays_and_unknown_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such place"):
        _panel(tmp_path, calendar=("holiday",), holidays="Atlantis")
    for name in ("load", "rain"):
        with pytest.raises(ConfigError, match="cannot be known ahead"):
            _panel(tmp_path, known_ahead={name: 24})


def test_what_is_declared_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    plain, declared = _panel(tmp_path), _panel(tmp_path, known_ahead={"wind": 24})
    assert plain.fingerprint != declared.fingerprint
    assert plain.fingerprint == replace(declared, known_ahead={}).fingerprint
    assert truncate(declared, 30).known_ahead == {"wind": 24}


def test_only_a_field_that_is_known_ahead_may_be_read_ahead_and_only_up_to_its_lead(tmp_path: Path) -> None:
    leads = {"wind": 24}
    assert look_ahead(parse("Ref($wind, -24)"), leads) == 0
    assert look_ahead(parse("Ref(Mean($wind, 6), -30)*$load"), leads) == 6
    assert look_ahead(parse("Ref($load, -24)"), leads) == 24
    features = Expressions({"ahead": "Ref($wind, -24)", "hour": "Ref($hour, -24)"}, leads).feature_set()
    for text, declared in (("Ref($wind, -25)", leads), ("Ref($load, -1)", leads), ("Ref($wind, -24)", None)):
        with pytest.raises(LookAheadError, match="ahead"):
            Expressions({"ahead": text}, declared).feature_set()
    check_fields(_panel(tmp_path, known_ahead=leads, calendar=("hour",)), features.asked_for())
    with pytest.raises(LookAheadError):  # the features say so, the data do not
        check_fields(_panel(tmp_path, calendar=("hour",)), features.asked_for())


def test_a_field_that_is_read_ahead_has_the_value_of_that_time(tmp_path: Path) -> None:
    panel = _panel(tmp_path, known_ahead={"wind": 24})
    ahead = compute_expression(panel, "Ref($wind, -24)")
    assert np.array_equal(ahead[:-24, 0], panel.fields["wind"][24:, 0])
    assert np.isnan(ahead[-24:]).all()


def test_a_label_of_a_field_that_is_known_ahead_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LookAheadError, match="cannot be known ahead"):
        check_fields(_panel(tmp_path, known_ahead={"wind": 24}), {"label": parse("Ref($wind, -24)")})


def test_another_future_keeps_what_is_known_ahead_within_its_lead_and_changes_the_rest(tmp_path: Path) -> None:
    panel = _panel(tmp_path, known_ahead={"wind": 24}, calendar=("hour",))
    other = poison(panel, 40, seed=1)
    wind, real = other.fields["wind"], panel.fields["wind"]
    assert np.array_equal(wind[:65], real[:65], equal_nan=True)
    assert not np.isclose(wind[65:], real[65:]).any()
    assert np.array_equal(other.fields["hour"], panel.fields["hour"])
    assert not np.isclose(other.fields["load"][41:], panel.fields["load"][41:]).any()


def test_another_future_changes_the_target_under_another_name_whatever_is_declared(tmp_path: Path) -> None:
    columns = {**COLUMNS, "forecast": "load"}
    times = [str(time) for time in pd.date_range("2020-03-28", periods=96, freq="h")]
    panel = _source(tmp_path, times, columns=columns, known_ahead={"forecast": 24}).load()
    assert not np.isclose(poison(panel, 40, seed=1).fields["forecast"][41:], panel.fields["forecast"][41:]).any()

"""Snapshots of data that have grown, shrunk or were revised: which metrics are one question in both."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from harness.config.tolerances import Tolerances
from harness.snapshots.comparison import compare
from harness.snapshots.growth import DAY, WindowTrace
from harness.snapshots.snapshot import Snapshot

DATES = ("2018-10-01", "2018-12-31"), ("2019-01-01", "2019-03-29"), ("2019-04-01", "2019-06-28")
TRACES = tuple(WindowTrace(k, f"data{k}", f"predictions{k}", settled=k < 2, labels=f"labels{k}") for k in range(3))
TRACES = (*TRACES[:2], replace(TRACES[2], labels="unknown"))
SAME, NEW, MISSING, REVISED = "SAME", "NEW", "MISSING", "INCOMPARABLE"


def run(traces: tuple[WindowTrace, ...] = TRACES, end: str = DATES[2][1], data: str = "one") -> Snapshot:
    count = len(traces)
    windows = [{"test": list(dates)} for dates in DATES[:count]]
    windows[-1] = {"test": [DATES[count - 1][0], end if count == len(DATES) else DATES[count - 1][1]]}
    code = {"digest": "a", "commit": "a"}
    return Snapshot(
        suite="team",
        case="ours",
        identity={"config": {}, "data": {"name": "market", "fingerprint": data}, "windows": windows},
        metrics={
            "overall": {"IC": 0.1},
            "per_window": [{"window": k, "IC": 0.1} for k in range(count)],
            "per_year": [{"year": year, "IC": 0.1} for year in (2018, 2019)[: 1 + (count > 1)]],
        },
        provenance={
            **{"code": code, "packages": {}, "machine": {"processor": "x", "cpus": 2}},
            "windows": [asdict(one) for one in traces],
        },
    )


def with_one(k: int, **changes: object) -> tuple[WindowTrace, ...]:
    return tuple(replace(one, **changes) if one.window == k else one for one in TRACES)  # type: ignore[arg-type]


DAYS = "a" * DAY + "b" * DAY
MORE_DAYS, OTHERS = DAYS + "c" * DAY, "a" * DAY + "d" * DAY + "e" * DAY
OPEN = with_one(2, days=DAYS)
WHOLE = tuple(replace(one, settled=True) for one in TRACES)


@pytest.mark.parametrize(
    ("before", "after", "expected", "exit_code"),
    [
        # overall, window 0, 1, 2, the predictions of window 2, year 2018, 2019
        (run(), run(end="2019-06-30"), [NEW, SAME, SAME, NEW, NEW, SAME, NEW], 0),
        (run(end="2019-06-30"), run(), [MISSING, SAME, SAME, MISSING, MISSING, SAME, MISSING], 1),
        (run(), run(WHOLE, data="two"), [NEW, SAME, SAME, NEW, SAME, SAME, NEW], 0),
        (run(WHOLE), run(data="two"), [MISSING, SAME, SAME, MISSING, SAME, SAME, MISSING], 1),
        # Data that grow after a test range which is over.
        (run(WHOLE), run(WHOLE, data="two"), [SAME] * 7, 0),
        # A calendar that goes on: the last window is there, and the data have not filled it.
        (run(with_one(2, complete=False, data="a")), run(data="two"), [NEW, SAME, SAME, NEW, NEW, SAME, NEW], 0),
        # Revised prices: those that a window has seen, and those that only its labels read.
        (run(), run(with_one(1, data="other"), data="two"), [REVISED, SAME, REVISED, NEW, SAME, SAME, REVISED], 3),
        (run(), run(with_one(1, labels="other"), data="two"), [REVISED, SAME, REVISED, NEW, SAME, SAME, REVISED], 3),
        (run(), run(with_one(1, data="other"), "2019-06-30", "two"), [NEW, SAME, REVISED, NEW, NEW, SAME, NEW], 3),
        (run(), run(with_one(2, data="other"), data="two"), [REVISED, SAME, SAME, *[REVISED] * 2, SAME, REVISED], 3),
        # A window that has grown: the days that both have tell whether what they saw was revised.
        (run(OPEN), run(with_one(2, days=MORE_DAYS), "2019-06-30", "two"), [NEW, SAME, SAME, NEW, NEW, SAME, NEW], 0),
        (
            run(OPEN),
            run(with_one(2, days=OTHERS), "2019-06-30", "two"),
            [NEW, SAME, SAME, *[REVISED] * 2, SAME, NEW],
            3,
        ),
        (
            run(WHOLE),
            run((*WHOLE[:2], replace(WHOLE[2], labels="other")), data="two"),
            [REVISED, SAME, SAME, REVISED, SAME, SAME, REVISED],
            3,
        ),
        # Labels that one side did not record are not known to be others.
        (run(with_one(1, labels="")), run(data="two"), [NEW, SAME, SAME, NEW, SAME, SAME, NEW], 0),
    ],
)
def test_what_is_one_question_in_both_is_compared(
    before: Snapshot, after: Snapshot, expected: list[str], exit_code: int
) -> None:
    verdict = compare(before, after, Tolerances("exact", {}), directions={"IC": "higher"})
    found = {metric.path: metric.verdict.name for metric in verdict.metrics}
    paths = ["overall.IC", *(f"per_window.{k}.IC" for k in range(3)), "per_window.2.predictions"]
    assert [found[path] for path in (*paths, "per_year.2018.IC", "per_year.2019.IC")] == expected, verdict.data
    assert int(verdict.exit_code) == exit_code
    assert not [one for one in verdict.findings if one.verdict.name == NEW]


GOES_ON = with_one(2, complete=False, data="a", days=DAYS)
"""Of the last window of a calendar that goes on there are two days."""


def test_a_calendar_that_goes_on_hides_no_day_that_is_missing() -> None:
    fewer = run(with_one(2, complete=False, data="b", days=DAYS[:DAY]), data="two")
    more, verdicts = run(GOES_ON), []
    for pair in ((fewer, more), (more, fewer)):
        verdict = compare(*pair, Tolerances("exact"), directions={})
        names = {one.path: one.verdict.name for one in verdict.metrics}
        verdicts.append((names["per_window.2.IC"], names["overall.IC"], int(verdict.exit_code), verdict.data[0][:6]))
    assert verdicts == [(NEW, NEW, 0, "grown:"), (MISSING, MISSING, 1, "shrunk")]


def test_a_calendar_that_goes_on_hides_no_day_that_is_more_beside_a_revised_one() -> None:
    revised = with_one(2, complete=False, data="b", days=MORE_DAYS)
    revised = (replace(revised[0], data="other"), *revised[1:])
    verdict = compare(run(GOES_ON), run(revised, data="two"), Tolerances("exact"), directions={})
    assert verdict.data[0].startswith("grown:")
    assert {one.verdict.name for one in verdict.metrics if one.path == "overall.IC"} == {NEW}


@pytest.mark.parametrize(("capacity", "expected"), [(None, [NEW, NEW, REVISED]), (2.0, [SAME, SAME, SAME])])
def test_errors_that_are_relative_to_the_test_range_are_of_another_one_when_it_grows(
    capacity: float | None, expected: list[str]
) -> None:
    """NMAE and NRMSE of a window divide by the mean of the series over the whole test range."""

    def of(one: Snapshot, value: float) -> Snapshot:
        metrics = {
            **one.metrics,
            "per_window": [{**record, "NMAE": value} for record in one.metrics["per_window"]],
            "per_year": [{**record, "NRMSE": value} for record in one.metrics["per_year"]],
        }
        config = {"evaluation": {"errors": {"capacity": capacity}}}
        return replace(one, metrics=metrics, identity={**one.identity, "config": config})

    moved = 0.1 if capacity is not None else 0.11
    grown, revised = run(end="2019-06-30"), run(with_one(2, data="other"), data="two")
    found = []
    for after, paths in ((grown, ["per_window.0.NMAE", "per_year.2018.NRMSE"]), (revised, ["per_window.0.NMAE"])):
        verdict = compare(of(run(), 0.1), of(after, moved), Tolerances("exact"), directions={})
        named = {one.path: one.verdict.name for one in verdict.metrics}
        assert named["per_window.0.IC"] == SAME
        found += [named[path] for path in paths]
    assert found == expected


def test_what_is_missing_says_that_the_data_end_earlier() -> None:
    verdict = compare(run(end="2019-06-30"), run(), Tolerances("exact"), directions={})
    assert {one.reason for one in verdict.metrics if one.verdict.name == "MISSING"} == {"the data end earlier"}

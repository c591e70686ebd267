"""Snapshots of data that have grown: which windows two of them have in common, and what of them must be equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, ne
from typing import Any

from harness.evaluation.metrics import METRICS
from harness.snapshots.snapshot import Snapshot

WINDOWS = "windows"
_APART = ("data", "windows")
_NEVER = 10_000  # a year after all


@dataclass(frozen=True)
class WindowTrace:
    """What one window of a run stood on, and what came of it; part of the provenance.

    Attributes:
        window: Its index.
        data: Digest of all that the data show before the end of its test segment.
        predictions: Digest of its predictions.
        settled: Every label of its test segment is as known as it will ever be.
        labels: Digest of these labels, which read prices after the segment; empty where it was not recorded.
        complete: The data reach to the end of its test segment; the calendar may reach further than they do.
        days: For each day of its test segment that the data reach, the beginning of the digest of all that they show
            until its end, one behind the other; empty where they were not recorded.
    """

    window: int
    data: str
    predictions: str
    settled: bool
    labels: str = ""
    complete: bool = True
    days: str = ""


DAY = 12
"""Characters of `WindowTrace.days` for each day."""
_STATES = attrgetter("complete"), attrgetter("settled")


@dataclass(frozen=True)
class Growth:
    """How one snapshot goes on where another ends; symmetric: with the sides exchanged it ends where the other goes on.

    Attributes:
        common: Windows that both have to their end, with the same dates.
        revised: Those of them, and of those that have grown, that have seen other data on the days that both have.
        relabelled: Those in common, and not revised, whose labels were all known in both, and are other ones.
        settled: Those of them whose labels were all known in both.
        years_before: The first year that is not settled: earlier ones are over in both.
        whole: Both have the same windows and know all their labels, so that the whole test range is one question.
        same: Both have the same windows, days of data, and as many of their labels: what is whole is, too.
        shrunk: The data of the second end earlier.
        relative: Names of metrics that are relative to the whole test range, for a window and a year, too.
        lines: What has grown, for people.
    """

    common: frozenset[int]
    revised: frozenset[int]
    relabelled: frozenset[int]
    settled: frozenset[int]
    years_before: int
    whole: bool
    same: bool
    shrunk: bool
    relative: frozenset[str] = frozenset()
    lines: tuple[str, ...] = ()

    def why_not_judged(self, path: str) -> str | None:
        """Return why a metric of both snapshots is one of another question in each; None when it must be equal."""
        section, _, rest = path.partition(".")
        name, _, metric = rest.partition(".")
        if section not in ("per_window", "per_year") or metric in self.relative:
            is_one, why = self.whole, "over another test range, or with labels that have matured since"
        elif section == "per_year":
            is_one, why = int(name) < self.years_before, "the year goes on, or its labels have matured since"
        elif int(name) not in self.common:
            is_one, why = False, "the window has grown"
        else:
            is_one, why = int(name) in self.settled or metric == "predictions", "its labels have matured since"
        return None if is_one else "the data end earlier" if self.shrunk else why

    def why_revised(self, path: str) -> str | None:
        """Return which data that a metric stands on are other ones in each snapshot; None when there are none."""
        section, _, rest = path.partition(".")
        name, _, metric = rest.partition(".")
        if section == "per_window" and int(name) in self.revised:
            return "the data that the window has seen were revised"
        if section == "per_window" and metric != "predictions" and int(name) in self.relabelled:
            return "data after the window, which its labels read, were revised"
        is_alone = section == "per_window" or (section == "per_year" and int(name) < self.years_before)
        is_revised = self.same and not (is_alone and metric not in self.relative) and self.revised | self.relabelled
        return "data of the test range were revised" if is_revised else None


def growth_of(baseline: Snapshot, candidate: Snapshot) -> Growth | None:
    """Return how the data of one snapshot go on where those of the other end; None when they differ in more than that.

    Two that differ in nothing but how far the data and the test range reach, and that say what their windows stood on.
    """
    pair = baseline, candidate
    if _asked(baseline) != _asked(candidate):
        return None
    traces, dates = [_traces(one) for one in pair], [one.identity.get(WINDOWS, ()) for one in pair]
    if not all(traces) or len(traces[0]) != len(dates[0]) or len(traces[1]) != len(dates[1]):
        return None
    shorter = min(map(len, dates))
    both = list(zip(*dates, strict=False))
    if any(old != new for old, new in both[:-1]) or _but_end(both[-1][0]) != _but_end(both[-1][1]):
        return None
    old, new = ([trace[k] for k in range(shorter)] for trace in traces)
    same_dates = (k for k, (one, other) in enumerate(both) if one == other)
    common = frozenset(k for k in same_dates if old[k].complete and new[k].complete)
    revised = frozenset(k for k in common if old[k].data != new[k].data)
    # Of a window that has grown, the days that both have; whatever came before changes them all.
    revised |= {k for k in range(shorter) if k not in common and any(map(ne, old[k].days, new[k].days))}
    settled = frozenset(k for k in common if old[k].settled and new[k].settled)
    known = ((k, old[k].labels, new[k].labels) for k in settled - revised)
    relabelled = frozenset(k for k, one, other in known if one and other and one != other)
    open_ones = [both[k][0]["test"][0] for k in range(shorter) if k not in settled or k in revised | relabelled]
    open_ones += [windows[shorter]["test"][0] for windows in dates if len(windows) > shorter]
    years_before = min((int(str(day)[:4]) for day in open_ones), default=_NEVER)
    ends, whole = [str(windows[-1]["test"][1]) for windows in dates], len(settled) == max(map(len, dates))
    days = [sum(len(one.days) for one in trace) for trace in traces]
    days = days if all(days) else [0, 0]  # those of a baseline of before are not known
    reach = [
        (end, *(sum(map(is_so, trace)) for is_so in _STATES), count)
        for end, trace, count in zip(ends, traces, days, strict=True)
    ]
    same, shrunk = dates[0] == dates[1] and reach[0] == reach[1], reach[1] < reach[0]
    relative = frozenset() if _has_capacity(baseline) else frozenset(m.name for m in METRICS.values() if m.is_relative)
    found = Growth(common, revised, relabelled, settled, years_before, whole, same, shrunk, relative)
    return replace(found, lines=_lines(dates, found))


def _lines(dates: Sequence[Sequence[Mapping[str, Any]]], growth: Growth) -> tuple[str, ...]:
    ends = " → ".join(str(windows[-1]["test"][1]) for windows in dates)
    counts = " → ".join(str(len(windows)) for windows in dates)
    is_same = growth.whole or (growth.same and growth.revised | growth.relabelled)
    what = "shrunk" if growth.shrunk else "other data, the same test range" if is_same else "grown"
    found = [f"{what}: the test range ends {ends}, windows {counts}"]
    found.append(f"windows in common: {len(growth.common)}, with all labels known on both sides: {len(growth.settled)}")
    for which, what in (
        (growth.revised, "of both saw other data"),
        (growth.relabelled, "of both are judged by other labels"),
    ):
        if which:
            names = ", ".join(map(str, sorted(which)[:8])) + (" …" if len(which) > 8 else "")
            found.append(
                f"revised: {len(which)} window{'s' * (len(which) > 1)} {what}: {names}; if that is right, bless again"
            )
    return tuple(found)


def _asked(snapshot: Snapshot) -> dict[str, Any]:
    """Return an identity without what grows: the data's content, the windows' dates, and where the test range ends."""
    identity = snapshot.identity
    rest = {name: value for name, value in identity.items() if name not in _APART}
    config = identity.get("config", {})
    windows = config.get("windows", {}) if isinstance(config, Mapping) else {}
    test = windows.get("test") if isinstance(windows, Mapping) else None
    if isinstance(test, Sequence) and len(test) == 2:
        rest["config"] = {**config, "windows": {**windows, "test": [test[0]]}}
    data = identity.get("data", {})
    return {**rest, "data": data.get("name") if isinstance(data, Mapping) else data}


def _has_capacity(snapshot: Snapshot) -> bool:
    """Return whether errors are divided by a number that is configured, which stays as it is."""
    found: Any = snapshot.identity.get("config", {})
    for name in ("evaluation", "errors", "capacity"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found is not None


def _traces(snapshot: Snapshot) -> tuple[WindowTrace, ...]:
    recorded = snapshot.provenance.get(WINDOWS)
    try:
        return tuple(WindowTrace(**one) for one in recorded or ())
    except TypeError:
        return ()


def _but_end(window: Mapping[str, Any]) -> dict[str, Any]:
    return {**window, "test": window["test"][0]}


def window_leaves(snapshot: Snapshot) -> dict[str, str]:
    """Return path → digest of the predictions of every window that says so."""
    return {f"per_window.{one.window}.predictions": one.predictions for one in _traces(snapshot)}

"""The published leaderboard: one table per market, made from the blessed snapshots and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.metric_records import METRICS
from harness.report.markdown import bold, link, markdown_table, markdown_text
from harness.snapshots.baseline import Baselines, Version
from harness.store.files import write_atomically

FILE = "leaderboard.md"
_METRICS = ("IC", "ICIR", "rank_IC", "rank_ICIR", "excess_return", "information_ratio", "max_drawdown")
_TESTS = "pytest."  # suites of the pytest plugin hold other people's numbers
_INTRODUCTION = """\
Written by `bench bless` from the newest blessed snapshots; a test fails when it is stale. Behind each number stands its
interval, by the stationary bootstrap at the level that the snapshot names; the best of each column is bold, which is
no claim that it is better than the next. *oracle* is the best forecast in expectation on a simulated market: a run may
beat it by luck. Returns are per year, beyond the benchmark and after costs."""


@dataclass(frozen=True)
class PublishedRow:
    """One blessed case.

    Attributes
    ----------
    suite, case, version
        Which snapshot.
    market
        Name and fingerprint of the data, test range and look-ahead: rows of the same market can be compared.
    metrics
        Metric → value; None where undefined.
    intervals
        Metric → ``low``, ``high``; None where there is none.
    oracle
        The metrics of the simulator's expectation, if there is one.
    """

    suite: str
    case: str
    version: int
    market: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Mapping[str, Any]]
    oracle: Mapping[str, float | None] | None


def published_rows(baselines: Baselines) -> tuple[PublishedRow, ...]:
    """Return the newest blessed snapshot of every case of every suite, but for those of the pytest plugin.

    Raises
    ------
    SnapshotError
        When one of them is damaged.
    """
    return tuple(
        _row(versions[-1])
        for suite in baselines.suites()
        if not suite.startswith(_TESTS)
        for case in baselines.cases(suite)
        if (versions := baselines.history(suite, case))
    )


def leaderboard_markdown(rows: Sequence[PublishedRow]) -> str:
    """Return rows of `published_rows` as Markdown: a table per suite and market, each case linked to its snapshot."""
    parts = []
    for suite, market in dict.fromkeys((row.suite, row.market) for row in rows):
        members = [row for row in rows if (row.suite, row.market) == (suite, market)]
        parts.append("\n".join([f"## {markdown_text(f'{suite}: {market}')}", "", *_table(members)]))
    return "\n\n".join(parts) + "\n" if parts else ""


def refresh(results: Path) -> Path | None:
    """Write ``leaderboard.md`` into the folder of the baselines; return the file, None where nothing changed."""
    if not stale(results):
        return None
    write_atomically(results / FILE, _page(results).encode())
    return results / FILE


def stale(results: Path) -> bool:
    """Return whether `refresh` would change the page."""
    path = results / FILE
    return not path.is_file() or path.read_text(encoding="utf-8") != _page(results)


def _page(results: Path) -> str:
    return f"# Leaderboard\n\n{_INTRODUCTION}\n\n{leaderboard_markdown(published_rows(Baselines(results)))}"


def _row(version: Version) -> PublishedRow:
    snapshot = version.snapshot
    identity, metrics = snapshot.identity, snapshot.metrics
    windows = identity.get("windows") or []
    data = identity.get("data", {})
    market = f"{data.get('name', 'unknown data')} {str(data.get('fingerprint', ''))[:8]}".strip()
    if windows:
        market += f", {windows[0]['test'][0]} … {windows[-1]['test'][1]}"
    if "look_ahead" in identity:
        market += f", labels known after {identity['look_ahead']} periods"
    return PublishedRow(
        suite=snapshot.suite,
        case=snapshot.case,
        version=version.number,
        market=market,
        metrics=metrics.get("overall", {}),
        intervals=metrics.get("intervals") or {},
        oracle=metrics.get("oracle"),
    )


def _table(rows: Sequence[PublishedRow]) -> list[str]:
    names = [name for name in _METRICS if any(name in row.metrics for row in rows)]
    best = {name: _best(rows, name) for name in names}
    cells = []
    for row in rows:
        target = link(row.case, f"{row.suite}/{row.case}/v{row.version:04d}.json")
        numbers = (_cell(name, row.metrics.get(name), row.intervals.get(name), best[name]) for name in names)
        cells.append([target, *numbers])
    oracle = max((row.oracle for row in rows if row.oracle is not None), key=len, default=None)
    if oracle is not None:
        cells.append(["*oracle*", *(METRICS[name].text(oracle.get(name)) for name in names)])
    return markdown_table({"case": False, **{METRICS[name].heading: True for name in names}}, cells)


def _best(rows: Sequence[PublishedRow], name: str) -> float | None:
    values = [value for row in rows if (value := row.metrics.get(name)) is not None]
    direction = METRICS[name].direction
    if len(values) < 2 or direction == "none":
        return None
    return max(values) if direction == "higher" else min(values)


def _cell(name: str, value: float | None, interval: Mapping[str, Any] | None, best: float | None) -> str:
    metric = METRICS[name]
    text = metric.text(value)
    if value is not None and value == best:
        text = bold(text)
    reach = metric.interval(value, interval)
    return f"{text} {reach if not reach or reach.startswith('±') else f'({reach})'}".rstrip()

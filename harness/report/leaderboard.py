"""One table of many cells: sorted, the best of each column marked, as text, CSV, Markdown or JSON."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.evaluation.metrics import COLUMNS, METRICS, MetricRecord, headings_of, own_metrics
from harness.report.check_output import bold, link, markdown_table, markdown_text
from harness.run.experiment import ExperimentResult
from harness.run.sweep import CellResult, Outcome
from harness.run.sweep_columns import SweepStatistics, csv_heads, csv_values, mark, name_mark
from harness.run.sweep_statistics import candidates_of, references
from harness.snapshots.baseline import Baselines, Version
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically


@dataclass(frozen=True)
class Row:
    """One forecaster.

    Attributes:
        name: The swept values, or ``oracle``.
        outcome: How the cell ended; ``oracle`` for the simulator's own expectation.
        values: Metric → value; None where undefined or not run.
        seconds: Of work, in this process and in workers.
        reused: The store held the whole result already.
        note: Why it was refused or failed.
        folder: Where its snapshot lies.
        intervals: Metric → ``low``, ``high``, for the mean ICs ``t``; empty where there are none.
    """

    name: str
    outcome: str
    values: dict[str, float | None]
    seconds: float
    reused: bool
    note: str | None
    folder: str | None
    intervals: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Leaderboard:
    """The rows, best first, then the oracle, then what was refused or failed.

    Attributes:
        rows: In that order.
        metrics: The metrics that some row has, in the order of `COLUMNS`.
        sorted_by: The metric that orders the rows.
        statistics: How the rows stand to a reference; None where fewer than two cells have run.
        own: The records of the users' own metrics.
        references: The cells that others are held against, one per scenario; every view of the sweep uses them.
    """

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    sorted_by: str
    statistics: SweepStatistics | None = None
    own: Mapping[str, MetricRecord] = field(default_factory=dict)
    references: tuple[str, ...] = ()

    def metric(self, name: str) -> MetricRecord:
        """Return how a metric is shown."""
        return {**METRICS, **self.own}[name]

    @property
    def headings(self) -> dict[str, str]:
        """Metric → heading of its column."""
        return headings_of(map(self.metric, self.metrics))

    def best(self, metric: str) -> float | None:
        """Return the best value of a metric among the forecasters; None when no direction is better."""
        direction = self.metric(metric).direction
        found = [r.values[metric] for r in self.rows if r.outcome == Outcome.DONE and r.values.get(metric) is not None]
        numbers = [value for value in found if value is not None]
        if direction == "none" or not numbers:
            return None
        return max(numbers) if direction == "higher" else min(numbers)

    def to_csv(self) -> str:
        """Return the rows with their statistics as CSV, every number in full precision."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            ["cell", "outcome", *self.metrics, "seconds", "reused", "note", "folder", *csv_heads(self.metrics)]
        )
        for row in self.rows:
            numbers = ["" if row.values.get(m) is None else repr(row.values[m]) for m in self.metrics]
            known = None if self.statistics is None else self.statistics.row(row.name)
            proof = csv_values(self.metrics, row.intervals, known, self.statistics)
            about = (f"{row.seconds:.3f}", row.reused, row.note or "", row.folder or "")
            writer.writerow([row.name, row.outcome, *numbers, *about, *proof])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table; the best value of each column is bold."""
        heads = {"cell": False, **dict.fromkeys(self.headings.values(), True)}
        lines = markdown_table(heads, map(self._markdown_row, self.rows))
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Return the rows and their statistics as canonical JSON."""
        statistics = None if self.statistics is None else self.statistics.record()
        rows = [vars(row) for row in self.rows]
        heads = {"sorted_by": self.sorted_by, "references": list(self.references)}
        return canonical_json({**heads, "rows": rows, "statistics": statistics}, indent=1)

    def _markdown_row(self, row: Row) -> list[str]:
        if row.note is not None:
            first = f"{row.outcome}: {(row.note.splitlines() or [''])[0]}"
            # Without metrics there is no column that could hold the reason.
            cells = [markdown_text(first), *[""] * (len(self.metrics) - 1)] if self.metrics else []
            return [markdown_text(row.name if cells else f"{row.name}: {first}"), *cells]
        name = f"{markdown_text(row.name)} {name_mark(self.statistics, row.name)}".rstrip()
        return [name, *(self._cell(row, m) for m in self.metrics)]

    def _cell(self, row: Row, metric: str) -> str:
        value = row.values.get(metric)
        text = self.metric(metric).text(value)
        if row.outcome == Outcome.DONE and value is not None and value == self.best(metric):
            text = bold(text)
        return f"{text} {mark(self.statistics, row.name, metric)}".rstrip()


def leaderboard(
    results: Sequence[CellResult],
    *,
    sort_by: str = "rank_IC",
    statistics: SweepStatistics | None = None,
    reference: str | None = None,
) -> Leaderboard:
    """Return the table of a sweep, sorted by one metric, the best first; ties keep the order of the cells."""
    done = [_row(r) for r in results if r.outcome is Outcome.DONE]
    own: dict[str, MetricRecord] = {}
    for ended in results:
        own |= {} if ended.result is None else own_metrics(ended.result.snapshot.identity)
    sign = 1.0 if {**METRICS, **own}[sort_by].direction == "lower" else -1.0

    def rank(row: Row) -> tuple[bool, float]:
        value = row.values.get(sort_by)
        return (value is None, 0.0 if value is None else sign * value)

    others = [_row(r) for r in results if r.outcome is not Outcome.DONE]
    rows = (*sorted(done, key=rank), *_oracles(results), *others)
    metrics = tuple(m for m in (*COLUMNS, *own) if any(m in row.values for row in rows))
    asked = () if reference is None else (reference,)
    names = tuple(c.name for c in references(candidates_of(results, with_regimes=False), asked))
    return Leaderboard(rows, metrics, sort_by, statistics, own, names)


def write_leaderboard(board: Leaderboard, results: Sequence[CellResult], runs: Path) -> Path:
    """Write the table as CSV, Markdown and JSON, and the traceback of every failed cell; return their folder.

    The folder is named by the cells and the runs that they led to, so that the same sweep writes to the same place, and
    one on other data or by other code beside it.
    """
    runs_of = (f"{r.cell.name} {'' if r.result is None else r.result.folder.name}" for r in results)
    names = "\n".join(sorted(runs_of))
    folder = runs / f"sweep-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    write_atomically(folder / "leaderboard.csv", board.to_csv().encode())
    write_atomically(folder / "leaderboard.md", board.to_markdown().encode())
    write_atomically(folder / "leaderboard.json", board.to_json().encode())
    for number, result in enumerate(results):
        if result.trace is not None:
            text = f"{result.cell.name}\n\n{result.trace}"
            write_atomically(folder / f"failure-{number:03}.txt", text.encode())
    return folder


def _row(ended: CellResult) -> Row:
    result = ended.result
    return Row(
        name=ended.cell.name,
        outcome=str(ended.outcome),
        values={} if result is None else _values(result),
        seconds=ended.seconds,
        reused=result is not None and result.reused,
        note=ended.reason,
        folder=None if result is None else str(result.folder),
        intervals={} if result is None else _intervals(result),
    )


def _values(result: ExperimentResult) -> dict[str, float | None]:
    """Return the harness's metrics in their order, then the user's own."""
    own = own_metrics(result.snapshot.identity)
    return {m: result.metrics[m] for m in (*COLUMNS, *own) if m in result.metrics}


def _intervals(result: ExperimentResult) -> dict[str, Any]:
    found = result.snapshot.metrics.get("intervals") or {}
    own = own_metrics(result.snapshot.identity)
    return {metric: found[metric] for metric in (*COLUMNS, *own) if metric in found}


def _oracles(results: Sequence[CellResult]) -> list[Row]:
    """Return one oracle row per distinct oracle: cells on the same market and label share theirs."""
    found: dict[str, Row] = {}
    for ended in results:
        if ended.result is None or ended.result.oracle is None:
            continue
        values = {m: ended.result.oracle[m] for m in COLUMNS if m in ended.result.oracle}
        found.setdefault(canonical_json(values), Row("oracle", "oracle", values, 0.0, True, None, None))
    return list(found.values())


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

    Attributes:
        suite, case, version: Which snapshot.
        market: Name and fingerprint of the data, test range and look-ahead: rows of the same market can be compared.
        metrics: Metric → value; None where undefined.
        intervals: Metric → ``low``, ``high``; None where there is none.
        oracle: The metrics of the simulator's expectation, if there is one.
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

    Raises:
        SnapshotError: When one of them is damaged.
    """
    return tuple(
        _row_published_tables(versions[-1])
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


def _row_published_tables(version: Version) -> PublishedRow:
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

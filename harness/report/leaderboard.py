"""The leaderboard of a sweep, as table, CSV, Markdown and JSON; and that of everything blessed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, closest
from harness.evaluation.metrics import (
    METRICS,
    RANKED_BY,
    MetricRecord,
    columns_of,
    forecasters_of_all,
    metrics_of,
    other_forecasters,
)
from harness.execution.progress import Observer
from harness.report.table import (
    Column,
    MetricRow,
    Table,
    TableCell,
    csv_text,
    main_metrics,
    markdown_text,
    metric_table,
    numbers,
    rank_of,
    table,
    to_markdown,
)
from harness.run.sweep import Cell, Outcome
from harness.run.sweep_columns import MAYBE_BEST, RowStatistics, SweepStatistics, csv_columns
from harness.run.sweep_statistics import candidates_of, scenarios, statistics_of
from harness.snapshots.baseline import Baselines, Version
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically

_ORACLE = "oracle"
_ALONE = "seconds of the windows if every time had its own; those that share sums take less"
_SPARE = "in leaderboard.csv and with --json"
_COSTS = (
    Column("s / window", numeric=True, spare=_SPARE),
    Column("at step 1", numeric=True, spare=_SPARE, about=_ALONE),
)


@dataclass(frozen=True)
class Row:
    """One forecaster."""

    name: str  # the swept values, or ``oracle``
    outcome: str  # how the cell ended; ``oracle`` for the simulator's own expectation
    values: dict[str, float | None]  # metric → value; None where undefined or not run
    seconds: float  # of work, in this process and in workers
    reused: bool
    note: str | None  # why it was refused or failed
    folder: str | None
    intervals: dict[str, Any] = field(default_factory=dict)  # metric → ``low``, ``high``, for the mean ICs ``t``
    # per_window: seconds that a window took, the first left out, in which much is done once; at_step_1: seconds that
    # all windows would take if every time had its own, at that rate. None where workers made them, or not all at once
    per_window: float | None = None
    at_step_1: float | None = None

    @property
    def reason(self) -> str:
        """The first line of why it has no result."""
        return ((self.note or "").splitlines() or [""])[0]


@dataclass(frozen=True)
class Leaderboard:
    """The rows, best first, then the oracle, then what was refused or failed."""

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]  # the metrics that some row has, in the order of their columns
    sorted_by: str
    # how the rows stand to a reference; None where fewer than two cells have run
    statistics: SweepStatistics | None = None
    known: Mapping[str, MetricRecord] = field(default_factory=lambda: METRICS)  # the records of all metrics
    # the cells that others are held against, one per scenario; every view of the sweep uses them
    references: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return the rows with their intervals and seconds; the reasons of cells without a result stand below."""
        made, rows = self._metrics(), []
        for row, cells in zip(self.rows, made.rows, strict=True):
            cost = row.outcome if row.note is not None else "stored" if row.reused else f"{row.seconds:.1f}"
            rows.append([*cells, TableCell("" if row.outcome == _ORACLE else cost), *self._cost(row)])
        below = [f"{row.outcome:<9} {row.name}: {row.reason}" for row in self.rows if row.note is not None]
        caption = f"sorted by {self.known[self.sorted_by].heading}"
        return table(caption, (*made.columns, *numbers("seconds"), *self._costs), rows, below=below)

    @property
    def _costs(self) -> tuple[Column, ...]:
        return _COSTS if any(row.per_window is not None for row in self.rows) else ()

    def _cost(self, row: Row) -> list[TableCell]:
        found = [(row.per_window, ".3f"), (row.at_step_1, ".0f")][: len(self._costs)]
        return [TableCell("" if value is None else f"{value:{digits}}") for value, digits in found]

    def _metrics(self) -> Table:
        rows = []
        for row in self.rows:
            known = self._statistics(row)
            name = TableCell(row.name, mark=MAYBE_BEST if known and known.in_confidence_set else "")
            rows.append(MetricRow(name, row.values, row.intervals, known, competes=row.outcome == Outcome.DONE))
        return metric_table("cell", [self.known[name] for name in self.metrics], rows)

    def _statistics(self, row: Row) -> RowStatistics | None:
        return None if self.statistics is None else self.statistics.row(row.name)

    def to_csv(self) -> str:
        """Return the rows with their statistics as CSV, every number in full precision."""
        about = ("seconds", "reused", "note", "folder", "seconds_per_window", "seconds_at_step_1")
        heads = csv_columns(self.metrics, {}, None, None)
        rows: list[Sequence[object]] = [["cell", "outcome", *self.metrics, *about, *heads]]
        for row in self.rows:
            values = (row.values.get(metric) for metric in self.metrics)
            rest = (f"{row.seconds:.3f}", row.reused, row.note, row.folder, row.per_window, row.at_step_1)
            statistics = csv_columns(self.metrics, row.intervals, self._statistics(row), self.statistics)
            rows.append([row.name, row.outcome, *values, *rest, *statistics.values()])
        return csv_text(rows)

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table; the best value of each column is bold."""
        made, rows = self._metrics(), []
        for row, (name, *cells) in zip(self.rows, made.rows, strict=True):
            reason = f"{row.outcome}: {row.reason}"
            if row.note is None:
                rows.append([name, *(replace(cell, detail="") for cell in cells), *self._cost(row)])
            elif cells:
                rows.append([TableCell(row.name), TableCell(reason), *[TableCell("")] * (len(cells) - 1)])
                rows[-1] += self._cost(row)
            else:  # without metrics there is no column that could hold the reason
                rows.append([TableCell(f"{row.name}: {reason}"), *self._cost(row)])
        return to_markdown(table("", (*made.columns, *self._costs), rows))

    def to_json(self) -> str:
        """Return the rows and their statistics as canonical JSON."""
        record = {"sorted_by": self.sorted_by, "references": list(self.references), "rows": list(map(vars, self.rows))}
        statistics = None if self.statistics is None else self.statistics.record()
        return canonical_json({**record, "statistics": statistics}, indent=1)


def leaderboard(
    results: Sequence[Cell],
    *,
    sort_by: str = "rank_IC",
    statistics: SweepStatistics | None = None,
    reference: str | None = None,
) -> Leaderboard:
    """Return the table of a sweep, sorted by one metric, the best first; ties keep the order of the cells."""
    known = metrics_of(*(ended.result.snapshot.identity for ended in results if ended.result is not None))
    done = [_row(r, known) for r in results if r.outcome is Outcome.DONE]
    done.sort(key=lambda row: rank_of(known[sort_by], row.values.get(sort_by)))
    rows = (*done, *_oracles(results, known), *(_row(r, known) for r in results if r.outcome is not Outcome.DONE))
    metrics = tuple(columns_of(known, (row.values for row in rows)))
    asked = () if reference is None else (reference,)
    names = tuple(c.name for c in scenarios(candidates_of(results, with_regimes=False), asked))
    return Leaderboard(rows, metrics, sort_by, statistics, known, names)


@dataclass(frozen=True, eq=False)
class RankedSweep:
    """A sweep that has ended: its cells, their table, and the folder that the table lies in."""

    cells: tuple[Cell, ...]
    board: Leaderboard
    folder: Path


def ordering_metric(cells: Sequence[Cell], metric: str) -> str:
    """Return the metric that orders the table: errors, where cells have no signal; refuse one that no cell can have."""
    configs = [cell.config for cell in cells if cell.config is not None]
    if metric == RANKED_BY and configs and configs[0].evaluation.signal is None:
        metric = "MAE"
    known = metrics_of(*(config.evaluation.extra for config in configs)).values()
    columns = [record.name for record in known if record.column]
    if metric not in columns:
        what, expected = "There is no such metric.", ", ".join(columns)
        raise ConfigError(what, where="--sort-by", got=metric, expected=expected, hint=closest(metric, columns))
    return metric


def rank_sweep(
    ended: Sequence[Cell], metric: str, reference: str | None, observer: Observer, folder: Path | None
) -> RankedSweep:
    """Make the table of a sweep that has ended, and write it; `folder` as of `write_leaderboard`."""
    runs = next((Path(cell.config.output.runs) for cell in ended if cell.config is not None), Path("runs"))
    statistics = statistics_of(ended, metric, reference, observer)
    board = leaderboard(ended, sort_by=metric, statistics=statistics, reference=reference)
    return RankedSweep(tuple(ended), board, write_leaderboard(board, ended, runs, folder))


def write_leaderboard(board: Leaderboard, results: Sequence[Cell], runs: Path, folder: Path | None = None) -> Path:
    """Write the table as CSV, Markdown and JSON, and the traceback of every failed cell; return their folder.

    Without a `folder` it is named by the cells and the runs that they led to, so that the same sweep writes to the same
    place, and one on other data or by other code beside it.
    """
    names = "\n".join(sorted(f"{r.name} {r.result.folder.name if r.result else ''}" for r in results))
    folder = folder or runs / f"sweep-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
    for ending, text in (("csv", board.to_csv()), ("md", board.to_markdown()), ("json", board.to_json())):
        write_atomically(folder / f"leaderboard.{ending}", text.encode())
    for number, result in enumerate(results):
        if result.trace is not None:
            write_atomically(folder / f"failure-{number:03}.txt", f"{result.name}\n\n{result.trace}".encode())
    return folder


def _row(ended: Cell, known: Mapping[str, MetricRecord]) -> Row:
    result = ended.result
    if result is None:
        return Row(ended.name, str(ended.outcome), {}, ended.seconds, False, ended.reason, None)
    snapshot = result.snapshot
    values, intervals = ({m: of[m] for m in columns_of(known, [of])} for of in (snapshot.overall, snapshot.intervals))
    run = (ended.seconds, result.reused, ended.reason, str(result.folder))
    return Row(ended.name, str(ended.outcome), values, *run, intervals, *_seconds_of_windows(ended))


def _seconds_of_windows(ended: Cell) -> tuple[float, float] | tuple[None, None]:
    assert ended.result is not None
    found, config = ended.result.snapshot.provenance.get("window_seconds"), ended.config
    if not found or config is None:
        return None, None
    times = ended.result.cost.windows * config.windows.step
    return found["later"], found["first"] + found["later"] * (times - 1)


def _oracles(results: Sequence[Cell], known: Mapping[str, MetricRecord]) -> list[Row]:
    judged = [(r.name, other_forecasters(r.result.snapshot.metrics)) for r in results if r.result is not None]
    return [
        Row(name, _ORACLE, {m: of[m] for m in columns_of(known, [of])}, 0.0, True, None, None)
        for name, _, of in forecasters_of_all(judged)
    ]


FILE = "leaderboard.md"
_TESTS = "pytest."  # suites of the pytest plugin hold other people's numbers
_INTRODUCTION = """\
Written by `bench bless` from the newest blessed snapshots; a test fails when it is stale. Behind each number stands its
interval, by the stationary bootstrap at the level that the snapshot names; the best of each column is bold, which is
no claim that it is better than the next. *oracle* is the best forecast in expectation on a simulated market: a run may
beat it by luck. Returns are per year, beyond the benchmark and after costs."""


def blessed_rows(baselines: Baselines) -> tuple[Version, ...]:
    """Return the newest blessed snapshot of every case of every suite, but for those of the pytest plugin.

    Raises:
        SnapshotError: When one of them is damaged.
    """
    return tuple(
        newest
        for suite, case in baselines.pairs
        if not suite.startswith(_TESTS) and (newest := baselines.baseline(suite, case)) is not None
    )


def leaderboard_markdown(rows: Sequence[Version]) -> str:
    """Return rows of `blessed_rows` as Markdown: a table per suite and market, each case linked to its snapshot."""
    groups: dict[str, list[Version]] = {}
    for row in rows:
        groups.setdefault(f"{row.snapshot.suite}: {_market(row.snapshot.identity)}", []).append(row)
    parts = (f"## {markdown_text(title)}\n\n{to_markdown(_table(members))}" for title, members in groups.items())
    return "\n".join(parts)


def leaderboard_page(results: Path) -> str:
    """Return what ``leaderboard.md`` in the folder of the baselines is to hold."""
    return f"# Leaderboard\n\n{_INTRODUCTION}\n\n{leaderboard_markdown(blessed_rows(Baselines(results)))}"


def refresh(results: Path) -> Path | None:
    """Write ``leaderboard.md`` into the folder of the baselines; return the file, None where nothing changed."""
    path, text = results / FILE, leaderboard_page(results)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return None
    write_atomically(path, text.encode())
    return path


def _market(identity: Mapping[str, Any]) -> str:
    """Return name and fingerprint of the data, test range and look-ahead: rows of one market can be compared."""
    data, windows = identity.get("data", {}), identity.get("windows") or []
    market = f"{data.get('name', 'unknown data')} {str(data.get('fingerprint', ''))[:8]}".strip()
    if windows:
        market += f", {windows[0]['test'][0]} … {windows[-1]['test'][1]}"
    return f"{market}, labels known after {identity['look_ahead']} periods" if "look_ahead" in identity else market


def _table(versions: Sequence[Version]) -> Table:
    snapshots = [version.snapshot for version in versions]
    rows = []
    for version, snapshot in zip(versions, snapshots, strict=True):
        link = f"{snapshot.suite}/{snapshot.case}/v{version.number:04d}.json"
        rows.append(MetricRow(TableCell(snapshot.case, link=link), snapshot.overall, snapshot.intervals))
    others = [other_forecasters(snapshot.metrics) for snapshot in snapshots]
    for name in dict.fromkeys(name for found in others for name in found):
        values = max((found[name] for found in others if name in found), key=len)
        rows.append(MetricRow(TableCell(name, style="italic"), values, competes=False))
    return metric_table("case", main_metrics(snapshots), rows)

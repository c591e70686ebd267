"""What a report shows: cells of sweeps and single runs, what tells their configurations apart, and their tables."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

from harness.data.panel import Panel
from harness.errors import DataError, closest
from harness.errors.redaction import redacted
from harness.evaluation.metrics import (
    METRICS,
    RANKED_BY,
    MetricRecord,
    columns_of,
    forecasters_of_all,
    headings_of,
    headline,
    metrics_of,
    other_forecasters,
)
from harness.evaluation.ranking import Ranking
from harness.evaluation.significance.hac import HacTest
from harness.report.table import MetricRow, Table, TableCell, metric_cell, metric_table, numbers, rank_of, table
from harness.run.finished import (
    LEADERBOARD,
    PREDICTIONS,
    FinishedRun,
    FinishedSweep,
    SweepRow,
    flatten,
    folders_under,
    named_apart,
    read_finished,
)
from harness.run.sweep_columns import MAYBE_BEST, SIGNS, RowStatistics, SweepStatistics
from harness.run.sweep_statistics import scenarios, sweep_statistics
from harness.snapshots.evidence import Evidence
from harness.store.artifacts import ArtifactStore

METRIC = RANKED_BY
_WINDOW_METRICS = ("IC", "rank_IC", "long_short_return", "excess_return", "turnover", "MAE", "RMSE", "skill", "rows")
_FRONTIER = ("window", "decision", "newest", "oldest", "waste")


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is shown."""

    cells: tuple[FinishedRun, ...]  # the reference first, then by rank IC, the best first; no name twice
    missing: tuple[SweepRow, ...]  # cells of sweeps that were refused or failed
    references: tuple[str, ...] = ()  # names of the cells that the others are tested against, one per scenario
    store: ArtifactStore | None = None  # that may hold the panels; without it nothing is known of groups

    @property
    def reference(self) -> FinishedRun:
        """The cell that the others of its scenario are tested against."""
        return self.cells[0]

    @property
    def metric(self) -> str:
        """The metric that orders the cells: the rank IC, or MAE where nothing is ranked."""
        return headline(cell.overall for cell in self.cells)

    @cached_property
    def rankings(self) -> tuple[Ranking | None, ...]:
        """What the ranking of every cell is worth; None where its predictions are not at hand."""
        panel_of = cache(Evidence(self.store).panel) if self.store is not None else lambda _: None
        return tuple(_ranking(cell, panel_of) for cell in self.cells)


GROUP_FIELDS = ("sector", "industry", "group")
"""Panel fields that number the groups within which a ranking is judged too."""


def _ranking(cell: FinishedRun, panel_of: Callable[[str], Panel | None]) -> Ranking | None:
    signal = cell.config["evaluation"].get("signal")
    if signal is None or not (cell.folder / PREDICTIONS).is_file():
        return None
    predictions, panel = cell.predictions(), panel_of(str(cell.snapshot.identity["data"]["fingerprint"]))
    at, fields = (predictions.row_times, predictions.codes), {} if panel is None else panel.fields
    groups = {name: fields[name][at] for name in GROUP_FIELDS if name in fields}
    lag = int(signal["lag"])
    return Ranking.of(predictions, lag=lag, horizon=cell.horizon, groups=groups)


def find_folders(root: Path) -> list[Path]:
    """Return the newest sweep under `root`, or without a sweep all its runs.

    Raises:
        DataError: When there is neither.
    """
    sweeps, runs = folders_under(root)
    if not sweeps and not runs:
        what, hint = "There is nothing to report on.", "run something first: bench run -m model.alpha=0.1,1"
        raise DataError(what, where=str(root), expected="a folder with runs or sweeps", hint=hint)
    return [max(sweeps, key=lambda folder: (folder / LEADERBOARD).stat().st_mtime)] if sweeps else runs


def read_cells(
    sources: Sequence[Path | FinishedRun], *, reference: str | None = None, store: ArtifactStore | None = None
) -> Report:
    """Read sweeps and runs; a run that occurs twice is read once.

    Args:
        sources: Folders, and runs that are at hand already.
        reference: Name of the cell to compare with; None: that of the sweep, of two runs the first, else by
            `harness.run.sweep_statistics.RULE`.
        store: Where the panels may be found.

    Raises:
        DataError: When a folder holds neither, or no cell has that name.
        SnapshotError: When a snapshot is missing, damaged, or of another schema.
    """
    found: dict[Path | str, FinishedRun] = {}
    missing: list[SweepRow] = []
    asked = [] if reference is None else [reference]
    read = [read_finished(source) if isinstance(source, Path) else source for source in sources]
    for source, finished in zip(sources, read, strict=True):
        if isinstance(finished, FinishedSweep):
            found |= {run.folder.resolve(): run for run in finished.runs}
            missing += [row for row in finished.rows if row.folder is None]
            asked += finished.references
        else:
            found.setdefault(finished.folder.resolve() if isinstance(source, Path) else finished.name, finished)
    if len(read) == 2 and isinstance(read[0], FinishedRun) and isinstance(read[1], FinishedRun):
        asked.append(read[0].name)
    cells = named_apart(found.values())
    names = [cell.name for cell in cells]
    if not cells:
        raise DataError("No cell has a result.", where=", ".join(map(str, sources)), got=f"{len(missing)} without one")
    if reference is not None and reference not in names:
        what, hint = "No cell has the name of the reference.", closest(reference, names)
        raise DataError(what, where="--reference", got=reference, expected="; ".join(names), hint=hint)
    bases = tuple(scenarios(cells, asked))
    by = METRICS[headline(cell.overall for cell in cells)]
    cells.sort(key=lambda cell: (cell is not bases[0], rank_of(by, cell.overall.get(by.name))))
    return Report(tuple(cells), tuple(missing), tuple(base.name for base in bases), store)


def compare(report: Report) -> SweepStatistics | None:
    """Return paired tests against the reference of each scenario, confidence sets, deflation; None for one cell."""
    return sweep_statistics(report.cells, metric=report.metric, asked=(report.reference.name, *report.references))


def leaderboard_metrics(cells: Sequence[FinishedRun]) -> dict[str, MetricRecord]:
    """Return the metrics of a leaderboard that some cell has: the harness's in their order, then the users'."""
    return columns_of(metrics_of(*(cell.snapshot.identity for cell in cells)), (cell.overall for cell in cells))


def differing_keys(cells: Sequence[FinishedRun]) -> list[str]:
    """Return the configuration keys that tell cells apart, sorted.

    Where the classes of a group differ, its other keys count only if they differ between cells of one class.
    """
    flat = [flatten(cell.config) for cell in cells]
    kept = []
    for key in sorted(set().union(*flat)):
        target = f"{key.partition('.')[0]}._target_"
        values = {(None if key == target else s.get(target), repr(s[key])) for s in flat if key in s}
        if len(values) > len({class_name for class_name, _ in values}):
            kept.append(key)
    return kept


def curve_name(cell: FinishedRun, keys: Sequence[str]) -> str:
    """Return the settings of a cell under these keys: a class without its module, another with its whole key."""
    flat = flatten(cell.config)
    known = {key: str(flat[key]) for key in keys if key in flat}
    return ", ".join(
        f"{group} {value.rpartition('.')[2]}" if (group := key.removesuffix("._target_")) != key else f"{key}={value}"
        for key, value in known.items()
    )


Curve = tuple[str, list[tuple[float, FinishedRun]]]


def curves_over(cells: Sequence[FinishedRun], keys: Sequence[str], numbers: Iterable[object]) -> list[Curve]:
    """Return the curves over one number of each cell: cells whose settings under the keys are equal, by the number.

    What is no number, and a curve of one point, is left out.
    """
    curves: dict[str, list[tuple[float, FinishedRun]]] = {}
    for cell, number in zip(cells, numbers, strict=True):
        if isinstance(number, int | float) and not isinstance(number, bool):
            curves.setdefault(curve_name(cell, keys), []).append((float(number), cell))
    found = ((name, sorted(curve, key=itemgetter(0))) for name, curve in curves.items())
    return [(name, curve) for name, curve in found if curve[0][0] < curve[-1][0]]


def swept_numbers(cells: Sequence[FinishedRun]) -> dict[str, list[Curve]]:
    """Return numeric key → its curves: the cells of one differ in this key only; keys without a curve are left out."""
    keys, flat = differing_keys(cells), [flatten(cell.config) for cell in cells]
    curves = {
        key: curves_over(cells, [other for other in keys if other != key], [settings.get(key) for settings in flat])
        for key in keys
    }
    return {key: found for key, found in curves.items() if found}


def leaderboard_rows(report: Report, statistics: SweepStatistics | None, *, sort_by: str | None = None) -> Table:
    """Return every cell with its metrics, intervals, and how it stands to the reference; the best by a metric first."""
    metrics = leaderboard_metrics(report.cells)
    sort_by = sort_by or report.metric
    by = metrics.get(sort_by, METRICS[report.metric])
    ranked = sorted(report.cells, key=lambda cell: rank_of(by, cell.overall.get(sort_by)))
    rows = []
    for cell in ranked:
        known = None if statistics is None else statistics.row(cell.name)
        name = TableCell(cell.name, detail=", ".join(_standing(cell, known, report)))
        rows.append(MetricRow(name, cell.overall, cell.snapshot.intervals, known))
    said = {"oracle": "the best forecast in expectation; a run may beat it by luck"}
    judged = ((cell.name, other_forecasters(cell.snapshot.metrics)) for cell in report.cells)
    oracles = [
        MetricRow(TableCell(name, detail=said.get(heading, "")), of, competes=False)
        for name, heading, of in forecasters_of_all(judged)
    ]
    heading = headings_of(metrics.values()).get(sort_by, sort_by)
    references = positions_of_references(ranked, report, statistics)
    caption = f"{len(ranked)} cells, by {heading}"
    return metric_table("cell", metrics.values(), [*rows, *oracles], caption=caption, references=references)


def positions_of_references(
    cells: Sequence[FinishedRun], report: Report, statistics: SweepStatistics | None
) -> list[int]:
    """Return which of these cells others are tested against."""
    rows = (None if statistics is None else statistics.row(cell.name) for cell in cells)
    return [at for at, (cell, row) in enumerate(zip(cells, rows, strict=True)) if _is_reference(cell, row, report)]


def _is_reference(cell: FinishedRun, known: RowStatistics | None, report: Report) -> bool:
    return cell is report.reference or (
        known is not None and known.reference == known.name and known.why_not_comparable is None
    )


def _standing(cell: FinishedRun, known: RowStatistics | None, report: Report) -> Iterable[str]:
    if _is_reference(cell, known, report):
        yield "reference"
    if known is not None and known.in_confidence_set:
        yield f"{SIGNS[MAYBE_BEST]} {MAYBE_BEST}"
    if known is not None and known.why_not_comparable:
        yield f"not compared: {known.why_not_comparable}"


def stability_table(statistics: SweepStatistics) -> Table:
    """Return the metric behind the order per cell and year, with its t-value, and what the cell's tests came to."""
    metric, ic = statistics.metric, METRICS["IC"]
    years = sorted({period.label for row in statistics.rows for period in row.years})
    rows = []
    for row in statistics.rows:
        found = {period.label: period.test for period in row.years}
        deflated = None if row.deflated_sharpe is None else row.deflated_sharpe.probability
        # Probabilities have the digits of an IC.
        shares = (metric_cell(ic, row.confidence_p), metric_cell(ic, deflated))
        rows.append([TableCell(row.name), *shares, *(_period(metric, found.get(year)) for year in years)])
    caption = f"{metric.heading} by year with t-values, and tests"
    return table(caption, ("cell", *numbers("confidence p", "deflated Sharpe", *years)), rows)


def _period(metric: MetricRecord, test: HacTest | None) -> TableCell:
    if test is None or math.isnan(test.estimate):
        return TableCell("–")
    detail = "" if math.isnan(test.t_value) else f"t = {test.t_value:.2f}, p = {test.p_value:.3f}"
    return TableCell(metric.text(test.estimate), test.estimate, detail)


def windows_table(cell: FinishedRun) -> Table:
    """Return the metrics of each window of a cell."""
    records = cell.snapshot.metrics["per_window"]
    known = metrics_of(cell.snapshot.identity).values()
    wanted = [m for m in known if m.name in _WINDOW_METRICS or m.name not in METRICS]
    metrics = [m for m in wanted if records and m.name in records[0]]
    rows: list[list[TableCell | str]] = []
    for r in records:
        window = TableCell(str(r["window"]), float(r["window"]))
        rows.append([window, str(r["start"]), str(r["stop"]), *(metric_cell(m, r.get(m.name)) for m in metrics)])
    columns = (*numbers("window"), "from", "to", *numbers(*headings_of(metrics).values()))
    return table(f"Windows of {cell.name}", columns, rows)


def audit_tables(report: Report) -> list[tuple[FinishedRun, Table, Table | None]]:
    """Return for every audited cell its checks and the frontier of its windows."""
    found = []
    for cell in report.cells:
        if cell.audit is None:
            continue
        checks: list[tuple[TableCell | str, ...]] = []
        for check in cell.audit.get("checks", ()):
            said = (str(check.get("note") or ""), *(str(f.get("what", "")) for f in check.get("findings", ())))
            question = TableCell(check.get("question", ""), detail="; ".join(filter(None, said)))
            checks.append((check.get("name", ""), check.get("outcome", ""), question))
        verdict = "clean" if cell.audit.get("clean") else "a leak was found"
        what = f"{cell.name}: {verdict}, {cell.audit.get('level', 'unknown')} audit"
        frontiers = [
            ["none" if f.get(k) is None else str(f[k]) for k in _FRONTIER] for f in cell.audit.get("frontiers", ())
        ]
        frontier = table(f"Frontier of {cell.name}", _FRONTIER, frontiers) if frontiers else None
        found.append((cell, table(what, ("check", "outcome", "question and findings"), checks), frontier))
    return found


def provenance(cell: FinishedRun) -> list[tuple[str, str]]:
    """Return where a row comes from as name and value; the command comes first."""
    record, data = cell.snapshot.provenance, cell.snapshot.identity["data"]
    code = record["code"]
    machine = {k: " ".join(map(str, v)) if isinstance(v, list | tuple) else v for k, v in record["platform"].items()}
    commit = f"commit {code.get('commit') or 'unknown'}{' with changes' if code.get('dirty') else ''}"
    return [
        ("command", command(cell) or "not recorded: the run is older than this field"),
        ("case", f"{cell.snapshot.suite} / {cell.snapshot.case}"),
        ("snapshot", cell.snapshot.digest),
        ("data", f"{data['name']}, fingerprint {data['fingerprint']}"),
        ("code", f"{code.get('version')}, {commit}"),
        *_user_code(record.get("user_code") or {}),
        ("made", f"{record['created']}, {cell.seconds:,.1f} s, {record['peak_memory_mb']:,} MB"),
        ("machine", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())),
        ("packages", ", ".join(f"{k} {v}" for k, v in sorted(record["packages"].items()))),
    ]


def _user_code(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the user's own modules and the commits that they stand in."""
    commits = (
        f"{found['name']} {found['commit'] or 'without a commit'}{' with changes' if found['dirty'] else ''}"
        for found in record.get("repositories", ())
    )
    return [("own code", ", ".join([*record["modules"], f"digest {record['digest']}", *commits]))] if record else []


def command(cell: FinishedRun) -> str | None:
    """Return the command line that makes this row again; None when the run did not record it."""
    given = cell.snapshot.provenance.get("command")
    program = cell.snapshot.provenance.get("program", "run")
    return None if given is None else shlex.join(["bench", program, *(redacted(str(text)) for text in given)])

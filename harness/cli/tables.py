"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.evaluation.metrics import METRICS, columns_of, metrics_of
from harness.evaluation.significance.hac import why_untested
from harness.report.table import Table, TableCell, metric_cell, metric_columns, numbers, prose, table
from harness.run.experiment import ExperimentResult
from harness.run.sweep import Cell, CellPlan
from harness.run.sweep_columns import cell_notes
from harness.samples.table import RowIndex
from harness.samples.windows import Segment, Window
from harness.snapshots.provenance import Cost


def result_table(result: ExperimentResult) -> Table:
    """Return one row of metrics per forecaster: the run with its intervals, and the simulator's oracle if there is one.

    A symmetric interval is printed as what it reaches to both sides, another as its bounds.
    """
    own, oracle = result.metrics, result.oracle
    metrics = columns_of(metrics_of(result.snapshot.identity), (own, oracle or {})).values()
    name = f"{result.config.choices['adaptation']} / {result.config.choices['model']}"
    rows = [(TableCell(name), *(metric_cell(m, own.get(m.name)) for m in metrics))]
    if result.intervals is not None:
        bounds = result.intervals
        reach = [TableCell(m.interval(own.get(m.name), bounds.get(m.name)) or "–") for m in metrics]
        rows.append((TableCell("  interval"), *reach))
    if oracle is not None:
        rows.append((TableCell("oracle"), *(metric_cell(m, oracle.get(m.name)) for m in metrics)))
    title = f"{result.snapshot.identity['data']['name']}, {len(result.windows)} windows"
    return table(title, ("forecaster", *metric_columns(metrics)), rows)


def plan_tables(plans: Sequence[CellPlan], stages: Mapping[str, tuple[int, int]]) -> tuple[Table, Table]:
    """Return the cells that a sweep would run, why some are refused, and what they share or have in the store."""
    rows = []
    for planned in plans:
        known = "" if planned.stored is None else f", {planned.stored} of its windows are stored"
        what = "stored" if planned.finished else f"run{known}"
        text = what if planned.cell.reason is None else f"{planned.cell.outcome}: {planned.cell.reason}"
        rows.append((planned.cell.name, str(planned.windows or "–"), text))
    cells = table(f"{len(plans)} cells", ("cell", *numbers("windows"), *prose("plan")), rows)
    counts = ((stage, str(count), str(held)) for stage, (count, held) in stages.items())
    return cells, table("stages", ("stage", *numbers("different ones", "stored")), counts)


def result_summary(result: ExperimentResult) -> str:
    calendar = result.snapshot.identity["windows"]
    period = f"{calendar[0]['test'][0]} … {calendar[-1]['test'][1]}, {result.metrics['rows']:,} predictions"
    return (
        f"test      {period}{_undefined(result)}\n"
        f"{_year(result)}"
        f"{_evidence(result)}"
        f"cost      {cost_text(result.cost)}\n"
        f"snapshot  {result.folder / 'snapshot.json'}"
        f"{''.join(f'{chr(10)}note      {note}' for note in result.notes)}"
    )


def cost_text(cost: Cost) -> str:
    workers = "" if cost.workers == 0 else f" on {cost.workers} worker{'s' * (cost.workers > 1)}"
    stored = f"{cost.stored:,} of {cost.windows:,} windows from the store"
    memory = f"peak memory {round(cost.memory_mb):,} MB"
    return f"wall {cost.wall:.1f} s, CPU {cost.cpu:.1f} s{workers}, {stored}, {memory}"


def sweep_notes(ended: Sequence[Cell]) -> list[str]:
    done = ((cell.name, cell.result.notes) for cell in ended if cell.result is not None)
    return [f"note      {line}" for line in cell_notes(done)]


def windows_table(windows: Sequence[Window], calendar: Calendar, rows: RowIndex) -> Table:
    """Return one row per window: its segments as dates, what the purge leaves out, and the rows of train and test."""
    counts = np.diff(rows.offsets)
    shown = [
        (
            str(window.index),
            _dates(window.train, calendar),
            _dates(window.valid, calendar),
            f"{window.decision - window.learn_stop} periods",
            calendar.format(window.decision),
            _dates(window.test, calendar),
            *(f"{counts[segment.start : segment.stop].sum():,}" for segment in (window.train, window.test)),
        )
        for window in windows
    ]
    columns = ("window", "train", "valid", "purged", "decision", "test", *numbers("train rows", "test rows"))
    return table(f"{len(windows)} windows", columns, shown)


def windows_summary(config: ExperimentConfig, look_ahead: int) -> str:
    return (
        f"label     {config.label.expression_text}\n"
        f"purge     a label is known {look_ahead} periods after its own, so learning ends {look_ahead} periods before "
        f"the decision{'' if config.windows.embargo == 0 else f', and {config.windows.embargo} more of embargo'}"
    )


def record_table(title: str, record: Mapping[str, object]) -> Table:
    rows = ((name.replace("_", " "), _plain(value)) for name, value in record.items())
    return table(title, ("", *prose("")), rows)


def findings_table(found: Sequence[object]) -> Table:
    if not found:
        return table("nothing looks odd", (), ())
    name, *others = (field.replace("_", " ") for field in vars(found[0]))
    return table("what looks odd", (name, *prose(*others)), (map(_plain, vars(f).values()) for f in found))


def _year(result: ExperimentResult) -> str:
    year = result.snapshot.identity["year"]
    return f"a year    {year['periods']:,} periods ({year['source']})\n"


def _evidence(result: ExperimentResult) -> str:
    """Return what the intervals mean, and the tests of the mean ICs, or why there is none."""
    if result.intervals is None:
        return ""
    level = result.intervals["IC"]["level"]
    tests = {METRICS[name].heading: result.intervals[name] for name in ("IC", "rank_IC")}
    if all(test["p"] is None for test in tests.values()):
        defined = result.metrics["days"] - result.metrics["undefined_days"]
        why = why_untested(defined, result.snapshot.identity["look_ahead"])
        return f"evidence  {level:.0%} intervals; no t-value of the mean IC: {why}\n"
    values = ", ".join(f"{heading} t = {_test(test)}" for heading, test in tests.items())
    return f"evidence  {level:.0%} intervals; {values}, allowing for labels that overlap\n"


def _test(test: Mapping[str, float | None]) -> str:
    t, p = test["t"], test["p"]
    return "–" if t is None or p is None else f"{t:.2f} (p = {p:.3f})"


def _undefined(result: ExperimentResult) -> str:
    """Return how many test times the mean IC leaves out: of labels that are not known yet, or where nothing varies."""
    lacking = result.metrics["undefined_days"]
    if not lacking:
        return ""
    times = "days" if "daily" in result.snapshot.identity["year"]["source"] else "periods"
    return f"; {lacking:,} of {result.metrics['days']:,} test {times} have no defined IC"


def _dates(segment: Segment | None, calendar: Calendar) -> str:
    return "–" if segment is None else f"{calendar.format(segment.start)} … {calendar.format(segment.last)}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

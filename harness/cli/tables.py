"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.experiment import ExperimentResult
from harness.leaderboard import COLUMNS, Leaderboard
from harness.samples import RowIndex
from harness.sweep import Outcome
from harness.sweep_plan import SweepPlan
from harness.sweep_statistics import mark, name_mark
from harness.windows import Segment, Window

__all__ = [
    "findings_table",
    "leaderboard_table",
    "plan_table",
    "record_table",
    "result_summary",
    "result_table",
    "windows_summary",
    "windows_table",
]

_SYMMETRIC = 1e-9
_METRIC_WIDTH, _NAME_WIDTH = 10, 24  # characters


def result_table(result: ExperimentResult) -> Table:
    """Return one row of metrics per forecaster: the run with its intervals, and the simulator's oracle if there is one.

    A symmetric interval is printed as what it reaches to both sides, another as its bounds.
    """
    own = result.metrics
    rows = {f"{result.config.choices['adaptation']} / {result.config.choices['model']}": own}
    if result.oracle is not None:
        rows["oracle"] = result.oracle
    extra = [metric.name for metric in result.config.evaluation.extra]
    names = [*(n for n in COLUMNS if any(n in row for row in rows.values())), *extra]
    title = f"{result.snapshot.identity['data']['name']}, {len(result.windows)} windows"
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    table.add_column("forecaster")
    for name in names:
        table.add_column(COLUMNS.get(name, name), justify="right", min_width=7, no_wrap=False)
    for label, row in rows.items():
        table.add_row(label, *(_number(row.get(name)) for name in names))
        if row is own and result.intervals is not None:
            table.add_row("  interval", *(_reach(row.get(name), result.intervals.get(name)) for name in names))
    return table


def leaderboard_table(board: Leaderboard, width: int) -> Group:
    """Return the cells of a sweep, best first; the best value of each column is bold, marks stand for statistics.

    Where names would be cut to fit in `width` characters they stand below the table, by number; so do the reasons of
    refused and failed cells.
    """
    table = Table(title=f"sorted by {COLUMNS[board.sorted_by]}", box=SIMPLE_HEAD, title_justify="left")
    table.add_column("cell", overflow="fold")
    for metric in board.metrics:
        table.add_column(COLUMNS.get(metric, metric), justify="right", min_width=7)
    table.add_column("seconds", justify="right")
    best = {metric: board.best(metric) for metric in board.metrics}
    longest = max((len(row.name) for row in board.rows), default=0)
    numbered = width < (len(board.metrics) + 1) * _METRIC_WIDTH + min(longest, _NAME_WIDTH)
    below: list[str] = []
    for number, row in enumerate(board.rows, start=1):
        cells = []
        for metric in board.metrics:
            value = row.values.get(metric)
            is_best = row.outcome == Outcome.DONE and value is not None and value == best[metric]
            sign = mark(board.statistics, row.name, metric) or " " * (board.statistics is not None)
            cells.append(Text(f"{_number(value)}{sign}", style="bold green" if is_best else ""))
        cost = "stored" if row.reused else f"{row.seconds:.1f}"
        label = str(number) if numbered else row.name
        if numbered:
            below.append(f"{number:<9} {row.name}")
        if row.note is not None:
            below.append(f"{row.outcome:<9} {row.name}: {row.note.splitlines()[0]}")
            cost = row.outcome
        table.add_row(
            Text(f"{name_mark(board.statistics, row.name)} {label}".strip()),
            *cells,
            "" if row.outcome == "oracle" else cost,
        )
    return Group(table, *(Text(line, overflow="fold") for line in below))


def plan_table(plan: SweepPlan) -> Group:
    """Return the cells that a sweep would run, why some are refused, and what they share or have in the store."""
    table = Table(title=f"{len(plan.cells)} cells", box=SIMPLE_HEAD, title_justify="left")
    table.add_column("cell")
    table.add_column("windows", justify="right")
    table.add_column("plan")
    for planned in plan.cells:
        known = "" if planned.stored is None else f", {planned.stored} of its windows are stored"
        what = "stored" if planned.finished else f"run{known}"
        text = what if planned.refusal is None else f"refused: {planned.refusal}"
        table.add_row(Text(planned.cell.name), str(planned.windows or "–"), Text(text))
    stages = Table(title="stages", box=SIMPLE_HEAD, title_justify="left")
    for name in ("stage", "different ones", "stored"):
        stages.add_column(name, justify="left" if name == "stage" else "right")
    for stage, (count, held) in plan.stages.items():
        stages.add_row(stage, str(count), str(held))
    return Group(table, stages)


def result_summary(result: ExperimentResult) -> str:
    """Return what was predicted, how long it took, and where the snapshot lies."""
    provenance = result.snapshot.provenance
    seconds = sum(provenance["seconds"].values())
    calendar = result.snapshot.identity["windows"]
    period = f"{calendar[0]['test'][0]} … {calendar[-1]['test'][1]}, {result.metrics['rows']:,} predictions"
    source = "found in the store" if result.reused else f"computed in {seconds:.1f} s"
    return (
        f"test      {period}\n"
        f"{_evidence(result)}"
        f"cost      {source}, peak memory {provenance['peak_memory_mb']:,} MB\n"
        f"snapshot  {result.folder / 'snapshot.json'}"
    )


def windows_table(windows: Sequence[Window], calendar: Calendar, rows: RowIndex) -> Table:
    """Return one row per window: its segments as dates, what the purge leaves out, and the rows of train and test."""
    table = Table(title=f"{len(windows)} windows")
    for name in ("window", "train", "valid", "purged", "decision", "test"):
        table.add_column(name, no_wrap=True)
    for name in ("train rows", "test rows"):
        table.add_column(name, justify="right")
    for window in windows:
        learned = np.diff(rows.offsets)[window.train.start : window.train.stop].sum()
        tested = np.diff(rows.offsets)[window.test.start : window.test.stop].sum()
        table.add_row(
            str(window.index),
            _dates(window.train, calendar),
            _dates(window.valid, calendar),
            f"{window.decision - window.learn_stop} times",
            calendar.format(window.decision),
            _dates(window.test, calendar),
            f"{learned:,}",
            f"{tested:,}",
        )
    return table


def windows_summary(config: ExperimentConfig, look_ahead: int) -> str:
    """Return why the purge is as long as it is."""
    return (
        f"label     {config.label.expression_text}\n"
        f"purge     a label is known {look_ahead} times after its own, so learning ends {look_ahead} times before the"
        f" decision{'' if config.windows.embargo == 0 else f', and {config.windows.embargo} more of embargo'}"
    )


def record_table(title: str, record: Mapping[str, object]) -> Table:
    """Return a record as name and value."""
    table = Table(title=title, show_header=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in record.items():
        table.add_row(name.replace("_", " "), _plain(value))
    return table


def findings_table(found: Sequence[object]) -> Table | str:
    """Return what looks odd, one row per kind."""
    if not found:
        return "nothing looks odd"
    table = Table(title="what looks odd")
    names = list(vars(found[0]))
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for finding in found:
        table.add_row(*(_plain(getattr(finding, name)) for name in names))
    return table


def _evidence(result: ExperimentResult) -> str:
    """Return what the intervals mean, and the t-values of the mean ICs."""
    if result.intervals is None:
        return ""
    level = result.intervals["IC"]["level"]
    tests = {COLUMNS[name]: result.intervals[name] for name in ("IC", "rank_IC")}
    values = ", ".join(f"{name} t = {_number(test['t'], 2)}" for name, test in tests.items())
    return f"evidence  {level:.0%} intervals; {values}, allowing for labels that overlap\n"


def _dates(segment: Segment | None, calendar: Calendar) -> str:
    return "–" if segment is None else f"{calendar.format(segment.start)} … {calendar.format(segment.last)}"


def _number(value: object, digits: int = 4) -> str:
    return "–" if not isinstance(value, int | float) else f"{value:.{digits}f}"


def _reach(value: object, interval: Mapping[str, float | None] | None) -> str:
    low, high = (None, None) if interval is None else (interval["low"], interval["high"])
    if low is None or high is None or not isinstance(value, int | float):
        return "–"
    if abs((low + high) / 2 - value) <= _SYMMETRIC * max(abs(low), abs(high)):
        return f"± {(high - low) / 2:.4f}"
    return f"{low:.2f} … {high:.2f}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

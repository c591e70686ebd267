"""The tables of a report as plain records: what stands in a cell, what it is sorted by, how it is marked."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.leaderboard import COLUMNS
from harness.redaction import redacted
from harness.report.cells import Cell, Report
from harness.report.columns import directions, headings
from harness.report.published import PublishedTable
from harness.significance import HacTest
from harness.sweep_statistics import Difference, SweepStatistics

__all__ = [
    "Entry",
    "Table",
    "audit_tables",
    "leaderboard_rows",
    "provenance",
    "published_rows",
    "stability_table",
    "windows_table",
]

_PERCENT = frozenset(
    {"excess_return", "max_drawdown", "long_short_return", "portfolio_return", "benchmark_return", "excess"}
)
_SYMMETRIC = 1e-9
_WINDOW_METRICS = ("IC", "rank_IC", "long_short_return", "excess_return", "turnover", "rows")


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes
    ----------
    text
        What is shown.
    order
        What it is sorted by: a number, or the text itself when None.
    detail
        A second, smaller line.
    mark
        ``better``, ``worse``, ``same`` or nothing.
    hint
        Explains the mark.
    best
        Whether it is the best of its column.
    """

    text: str
    order: float | None = None
    detail: str = ""
    mark: str = ""
    hint: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a heading per column.

    Attributes
    ----------
    key, caption
        Its identity on the page, and what it holds.
    heads
        Heading → whether the column holds numbers.
    rows
        Entries, the first of each row names it.
    reference
        Index of the row that others are compared with.
    """

    key: str
    caption: str
    heads: Mapping[str, bool]
    rows: tuple[tuple[Entry, ...], ...]
    reference: int | None = None


def leaderboard_rows(report: Report, statistics: SweepStatistics | None, *, sort_by: str = "rank_IC") -> Table:
    """Return every cell with its metrics, intervals, and how it stands to the reference; the best by a metric first."""
    columns = headings(report.cells)
    metrics = list(columns)
    sign = 1.0 if directions(report.cells).get(sort_by) == "lower" else -1.0

    def rank(cell: Cell) -> tuple[bool, float]:
        value = cell.overall.get(sort_by)
        return (value is None, 0.0 if value is None else sign * value)

    ranked = sorted(report.cells, key=rank)
    best = {m: _best(report, m) for m in metrics}
    rows = []
    for cell in ranked:
        known = None if statistics is None else statistics.row(cell.name)
        told = ["reference"] if cell is report.reference else []
        told += ["● may be the best"] if known is not None and known.in_confidence_set else []
        told += [f"not compared: {known.why_not_comparable}"] if known is not None and known.why_not_comparable else []
        differences = {} if known is None else known.differences
        name = Entry(cell.name, detail=", ".join(told))
        rows.append((name, *(_metric(cell, m, differences.get(m), best[m]) for m in metrics)))
    for oracle in _oracles(report):
        values = [Entry(number(m, oracle.get(m)), oracle.get(m)) for m in metrics]
        rows.append((Entry("oracle", detail="the best that anyone could forecast here"), *values))
    reference = next(i for i, cell in enumerate(ranked) if cell is report.reference)
    heads = {"cell": False, **dict.fromkeys(columns.values(), True)}
    return Table(
        "leaderboard", f"{len(ranked)} cells, by {columns.get(sort_by, sort_by)}", heads, tuple(rows), reference
    )


def stability_table(statistics: SweepStatistics) -> Table:
    """Return the metric behind the order per cell and year, with its t-value, and what the cell's tests came to."""
    years = sorted({period.label for row in statistics.rows for period in row.years})
    rows = []
    for row in statistics.rows:
        found = {period.label: period.test for period in row.years}
        entries = [_period(found[year]) if year in found else Entry("–") for year in years]
        deflated = None if row.deflated_sharpe is None else row.deflated_sharpe.probability
        rows.append((Entry(row.name), _plain("IC", row.confidence_p), _plain("IC", deflated), *entries))
    heads = {"cell": False, "confidence p": True, "deflated Sharpe": True, **dict.fromkeys(years, True)}
    return Table("stability", f"{COLUMNS[statistics.metric]} by year with t-values, and tests", heads, tuple(rows))


def windows_table(cell: Cell) -> Table:
    """Return the metrics of each window of a cell."""
    records = cell.snapshot.metrics["per_window"]
    metrics = [m for m in _WINDOW_METRICS if records and m in records[0]]
    rows = tuple(
        (
            Entry(str(r["window"]), float(r["window"])),
            Entry(str(r["start"])),
            Entry(str(r["stop"])),
            *(Entry(number(m, r.get(m)), r.get(m)) for m in metrics),
        )
        for r in records
    )
    heads = {"window": True, "from": False, "to": False, **{COLUMNS.get(m, m): True for m in metrics}}
    return Table("windows", f"Windows of {cell.name}", heads, rows)


def published_rows(table: PublishedTable) -> Table:
    """Return published rows, each above the cells that it stands beside."""
    rows = []
    for beside in table.rows:
        rows.append((Entry(beside.name), Entry("published"), *(_plain(m, beside.values.get(m)) for m in table.metrics)))
        for cell in beside.cells:
            rows.append(
                (Entry(beside.name), Entry(cell.name), *(_plain(m, cell.overall.get(m)) for m in table.metrics))
            )
    heads = {"row": False, "from": False, **{COLUMNS.get(m, m): True for m in table.metrics}}
    return Table("published", f"{table.source}: {table.scenario}", heads, tuple(rows))


def audit_tables(report: Report) -> list[tuple[Cell, Table, Table | None]]:
    """Return for every audited cell its checks and the frontier of its windows."""
    found = []
    for cell in report.cells:
        if cell.audit is None:
            continue
        checks = tuple(
            (
                Entry(str(check.get("name", ""))),
                Entry(str(check.get("outcome", ""))),
                Entry(str(check.get("question", "")), detail=_findings(check)),
            )
            for check in cell.audit.get("checks", ())
        )
        heads = {"check": False, "outcome": False, "question and findings": False}
        verdict = "clean" if cell.audit.get("clean") else "a leak was found"
        what = f"{cell.name}: {verdict}, {cell.audit.get('level', 'unknown')} audit"
        frontiers = tuple(
            tuple(Entry(str(f.get(k) if f.get(k) is not None else "none")) for k in _FRONTIER)
            for f in cell.audit.get("frontiers", ())
        )
        frontier = Table("frontier", f"Frontier of {cell.name}", dict.fromkeys(_FRONTIER, False), frontiers)
        found.append((cell, Table("audit", what, heads, checks), frontier if frontiers else None))
    return found


def provenance(cell: Cell) -> list[tuple[str, str]]:
    """Return where a row comes from as name and value; the command comes first."""
    record = cell.snapshot.provenance
    code = record["code"]
    commit = code.get("commit") or "unknown"
    seconds = sum(record["seconds"].values())
    return [
        ("command", command(cell) or "not recorded: the run is older than this field"),
        ("case", f"{cell.snapshot.suite} / {cell.snapshot.case}"),
        ("snapshot", cell.snapshot.digest),
        (
            "data",
            f"{cell.snapshot.identity['data']['name']}, fingerprint {cell.snapshot.identity['data']['fingerprint']}",
        ),
        ("code", f"{code.get('version')}, commit {commit}{' with changes' if code.get('dirty') else ''}"),
        ("made", f"{record['created']}, {seconds:,.1f} s, {record['peak_memory_mb']:,} MB"),
        ("machine", ", ".join(f"{k.replace('_', ' ')} {_words(v)}" for k, v in record["platform"].items())),
        ("packages", ", ".join(f"{k} {v}" for k, v in sorted(record["packages"].items()))),
    ]


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def command(cell: Cell) -> str | None:
    """Return the command line that makes this row again; None when the run did not record it."""
    given = cell.snapshot.provenance.get("command")
    if given is None:
        return None
    return shlex.join(["bench", "run", *(redacted(str(text)) for text in given)])


def number(metric: str, value: Any) -> str:
    """Return a metric as text: shares in percent, counts whole, an undefined one as a dash."""
    if not isinstance(value, int | float):
        return "–"
    if metric in _PERCENT:
        return f"{value:.2%}".replace("-", "−")
    return (f"{value:,}" if isinstance(value, int) else f"{value:.4f}").replace("-", "−")


def _metric(cell: Cell, metric: str, difference: Difference | None, best: float | None) -> Entry:
    value = cell.overall.get(metric)
    interval = cell.intervals.get(metric) or {}
    low, high = interval.get("low"), interval.get("high")
    is_best = value is not None and value == best
    shown = Entry(number(metric, value), value, _interval(metric, value, low, high), best=is_best)
    if difference is None or difference.verdict not in ("better", "worse"):
        return shown
    hint = f"{difference.verdict} than the reference, p = {difference.p_hac:.3f} and {difference.p_bootstrap:.3f}"
    return replace(shown, mark=difference.verdict, hint=hint)


def _interval(metric: str, value: Any, low: Any, high: Any) -> str:
    """Return what a symmetric interval reaches to both sides, or the bounds of another."""
    if value is None or low is None or high is None:
        return ""
    if abs((low + high) / 2 - value) <= _SYMMETRIC * max(abs(low), abs(high)):
        return f"±\N{NO-BREAK SPACE}{number(metric, (high - low) / 2)}"
    return f"{number(metric, low)} … {number(metric, high)}"


def _period(test: HacTest) -> Entry:
    if math.isnan(test.estimate):
        return Entry("–")
    detail = "" if math.isnan(test.t_value) else f"t = {test.t_value:.2f}"
    return Entry(number("IC", test.estimate), test.estimate, detail)


def _plain(metric: str, value: Any) -> Entry:
    return Entry(number(metric, value), value if isinstance(value, int | float) else None)


def _best(report: Report, metric: str) -> float | None:
    direction = directions(report.cells).get(metric, "none")
    values = [float(c.overall[metric]) for c in report.cells if c.overall.get(metric) is not None]
    if direction == "none" or len(values) < 2:
        return None
    return max(values) if direction == "higher" else min(values)


def _oracles(report: Report) -> list[Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for cell in report.cells:
        oracle = cell.snapshot.metrics.get("oracle")
        if oracle:
            found.setdefault(repr(sorted(oracle.items())), oracle)
    return list(found.values())


_FRONTIER = ("window", "decision", "newest", "oldest", "waste")


def _findings(check: Mapping[str, Any]) -> str:
    told = [str(f.get("what", "")) for f in check.get("findings", ())]
    return "; ".join(filter(None, [str(check.get("note") or ""), *told]))

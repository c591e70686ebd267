"""The tables of a report as plain records: what stands in a cell, what it is sorted by, how it is marked."""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from harness.errors.redaction import redacted
from harness.evaluation.metrics import METRICS, MetricRecord, own_metrics
from harness.evaluation.significance import HacTest
from harness.report.cells import Cell, Report, directions, headings, metrics_of
from harness.report.check_output import bold, markdown_table, markdown_text
from harness.report.published import PublishedTable
from harness.run.sweep_columns import Difference, RowStatistics, SweepStatistics
from harness.store.artifacts import canonical_json

_WINDOW_METRICS = ("IC", "rank_IC", "long_short_return", "excess_return", "turnover", "rows")


@dataclass(frozen=True)
class Entry:
    """One cell of a table.

    Attributes:
        text: What is shown.
        order: What it is sorted by: a number, or the text itself when None.
        detail: A second, smaller line.
        mark: ``better``, ``worse``, ``same`` or nothing.
        hint: Explains the mark.
        best: Whether it is the best of its column.
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

    Attributes:
        key, caption: Its identity on the page, and what it holds.
        heads: Heading → whether the column holds numbers.
        rows: Entries, the first of each row names it.
        reference: Index of the row that others are compared with.
    """

    key: str
    caption: str
    heads: Mapping[str, bool]
    rows: tuple[tuple[Entry, ...], ...]
    reference: int | None = None


def leaderboard_rows(report: Report, statistics: SweepStatistics | None, *, sort_by: str = "rank_IC") -> Table:
    """Return every cell with its metrics, intervals, and how it stands to the reference; the best by a metric first."""
    columns, known_metrics = headings(report.cells), metrics_of(report.cells)
    metrics = [known_metrics[m] for m in columns]
    sign = 1.0 if directions(report.cells).get(sort_by) == "lower" else -1.0

    def rank(cell: Cell) -> tuple[bool, float]:
        value = cell.overall.get(sort_by)
        return (value is None, 0.0 if value is None else sign * value)

    ranked = sorted(report.cells, key=rank)
    best = {m: _best(report, m) for m in columns}
    rows = []
    for cell in ranked:
        known = None if statistics is None else statistics.row(cell.name)
        told = ["reference"] if cell is report.reference or _is_reference(known) else []
        told += ["● may be the best"] if known is not None and known.in_confidence_set else []
        told += [f"not compared: {known.why_not_comparable}"] if known is not None and known.why_not_comparable else []
        differences = {} if known is None else known.differences
        name = Entry(cell.name, detail=", ".join(told))
        rows.append((name, *(_metric(cell, m, differences.get(m.name), best[m.name]) for m in metrics)))
    for oracle in _oracles(report):
        values = [_number(m, oracle.get(m.name)) for m in metrics]
        rows.append((Entry("oracle", detail="the best forecast in expectation; a run may beat it by luck"), *values))
    reference = next(i for i, cell in enumerate(ranked) if cell is report.reference)
    heads = {"cell": False, **dict.fromkeys(columns.values(), True)}
    return Table(
        "leaderboard", f"{len(ranked)} cells, by {columns.get(sort_by, sort_by)}", heads, tuple(rows), reference
    )


def _is_reference(row: RowStatistics | None) -> bool:
    return row is not None and row.reference == row.name and row.why_not_comparable is None


def stability_table(statistics: SweepStatistics) -> Table:
    """Return the metric behind the order per cell and year, with its t-value, and what the cell's tests came to."""
    years = sorted({period.label for row in statistics.rows for period in row.years})
    rows = []
    for row in statistics.rows:
        found = {period.label: period.test for period in row.years}
        entries = [_period(METRICS[statistics.metric], found[year]) if year in found else Entry("–") for year in years]
        deflated = None if row.deflated_sharpe is None else row.deflated_sharpe.probability
        rows.append((Entry(row.name), _share(row.confidence_p), _share(deflated), *entries))
    heads = {"cell": False, "confidence p": True, "deflated Sharpe": True, **dict.fromkeys(years, True)}
    caption = f"{METRICS[statistics.metric].heading} by year with t-values, and tests"
    return Table("stability", caption, heads, tuple(rows))


def windows_table(cell: Cell) -> Table:
    """Return the metrics of each window of a cell."""
    records = cell.snapshot.metrics["per_window"]
    known = {**METRICS, **own_metrics(cell.snapshot.identity)}
    metrics = [m for m in known.values() if m.name in _WINDOW_METRICS and records and m.name in records[0]]
    rows = tuple(
        (
            Entry(str(r["window"]), float(r["window"])),
            Entry(str(r["start"])),
            Entry(str(r["stop"])),
            *(_number(m, r.get(m.name)) for m in metrics),
        )
        for r in records
    )
    heads = {"window": True, "from": False, "to": False, **{m.heading: True for m in metrics}}
    return Table("windows", f"Windows of {cell.name}", heads, rows)


def published_rows(table: PublishedTable) -> Table:
    """Return published rows, each above the cells that it stands beside."""
    metrics = [METRICS[m] for m in table.metrics]
    rows = []
    for beside in table.rows:
        rows.append((Entry(beside.name), Entry("published"), *(_number(m, beside.values.get(m.name)) for m in metrics)))
        for cell in beside.cells:
            numbers = (_number(m, cell.overall.get(m.name)) for m in metrics)
            rows.append((Entry(beside.name), Entry(cell.name), *numbers))
    heads = {"row": False, "from": False, **{m.heading: True for m in metrics}}
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
        *_user_code(record.get("user_code")),
        ("made", f"{record['created']}, {seconds:,.1f} s, {record['peak_memory_mb']:,} MB"),
        ("machine", ", ".join(f"{k.replace('_', ' ')} {_words(v)}" for k, v in record["platform"].items())),
        ("packages", ", ".join(f"{k} {v}" for k, v in sorted(record["packages"].items()))),
    ]


def _user_code(record: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return the user's own modules and the commits that they stand in."""
    if record is None:
        return []
    commits = [
        f"{found['name']} {found['commit'] or 'without a commit'}{' with changes' if found['dirty'] else ''}"
        for found in record["repositories"]
    ]
    return [("own code", ", ".join([*record["modules"], f"digest {record['digest']}", *commits]))]


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def command(cell: Cell) -> str | None:
    """Return the command line that makes this row again; None when the run did not record it."""
    given = cell.snapshot.provenance.get("command")
    if given is None:
        return None
    return shlex.join(["bench", "run", *(redacted(str(text)) for text in given)])


def _metric(cell: Cell, metric: MetricRecord, difference: Difference | None, best: float | None) -> Entry:
    value = cell.overall.get(metric.name)
    # A narrow column breaks an interval between its bounds, never between a sign and its number.
    reach = metric.interval(value, cell.intervals.get(metric.name)).replace("± ", "±\u00a0")
    shown = replace(_number(metric, value), detail=reach, best=value is not None and value == best)
    if difference is None or difference.verdict not in ("better", "worse"):
        return shown
    hint = f"{difference.verdict} than the reference, p = {difference.p_hac:.3f} and {difference.p_bootstrap:.3f}"
    return replace(shown, mark=difference.verdict, hint=hint)


def _number(metric: MetricRecord, value: Any) -> Entry:
    return Entry(metric.text(value), value if isinstance(value, int | float) else None)


def _share(value: float | None) -> Entry:
    """Return a probability, with the digits of an IC."""
    return _number(METRICS["IC"], value)


def _period(metric: MetricRecord, test: HacTest) -> Entry:
    if math.isnan(test.estimate):
        return Entry("–")
    detail = "" if math.isnan(test.t_value) else f"t = {test.t_value:.2f}, p = {test.p_value:.3f}"
    return Entry(metric.text(test.estimate), test.estimate, detail)


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


_MINUS = re.compile(r"(?<!\S)-(?=\d)")
_SIGNS = {"better": "▲", "worse": "▼"}
_LATEX_SIGNS = {"better": r"$\blacktriangle$", "worse": r"$\blacktriangledown$"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
    "]": "{]}",
    "●": r"$\bullet$",
    "−": r"$-$",
    "±": r"$\pm$",
    "…": r"\dots{}",
    "–": "--",
}


def to_markdown(table: Table) -> str:
    """Return a Markdown table: each number with its interval and mark, the best of a column bold."""
    return "\n".join(markdown_table(table.heads, (list(map(_markdown, row)) for row in table.rows))) + "\n"


def to_latex(table: Table) -> str:
    """Return a LaTeX tabular with the rules of booktabs; its triangles come from amssymb."""
    columns = "".join("r" if numeric else "l" for numeric in table.heads.values())
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        rf"{' & '.join(map(_escaped, table.heads))} \\",
        r"\midrule",
        *(rf"{' & '.join(map(_latex, row))} \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """Return CSV: numbers in full precision, empty where undefined; then interval and mark of each number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    numeric = [head for head, is_number in table.heads.items() if is_number]
    writer.writerow([*table.heads, *(f"{head} {part}" for head in numeric for part in ("interval", "mark"))])
    for row in table.rows:
        values = [_value(e, is_number) for e, is_number in zip(row, table.heads.values(), strict=True)]
        about = [part for e, n in zip(row, table.heads.values(), strict=True) if n for part in (e.detail, e.mark)]
        writer.writerow([*values, *about])
    return text.getvalue()


def to_json(table: Table) -> str:
    """Return canonical JSON: one object per row, head → value, interval, mark."""
    rows = [
        {head: {"value": e.order if n else e.text, "detail": e.detail, "mark": e.mark} for (head, n), e in pairs}
        for pairs in (list(zip(table.heads.items(), row, strict=True)) for row in table.rows)
    ]
    return canonical_json({"caption": table.caption, "rows": rows}, indent=1)


EXPORTS: Mapping[str, Callable[[Table], str]] = MappingProxyType(
    {"markdown": to_markdown, "latex": to_latex, "csv": to_csv, "json": to_json}
)


def _markdown(entry: Entry) -> str:
    text = bold(markdown_text(entry.text)) if entry.best else markdown_text(entry.text)
    return " ".join(filter(None, [text, _SIGNS.get(entry.mark, ""), markdown_text(entry.detail)]))


def _latex(entry: Entry) -> str:
    text = _escaped(entry.text)
    bold = rf"\textbf{{{text}}}" if entry.best else text
    return " ".join(filter(None, [bold, _LATEX_SIGNS.get(entry.mark, ""), _escaped(entry.detail)]))


def _escaped(text: str) -> str:
    """Return text that LaTeX prints as it is; a minus sign before a number is one."""
    escaped = "".join(_LATEX.get(character, character) for character in _line(text))
    return _MINUS.sub("$-$", escaped)


def _line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _value(entry: Entry, numeric: bool) -> str:
    if not numeric:
        return entry.text
    return "" if entry.order is None else repr(entry.order)

"""A table: its columns and cells once, and every form in which it is written; `harness.cli.terminal` prints it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from harness.evaluation.metrics import METRICS, MetricRecord, columns_of, headings_of, metrics_of
from harness.run.sweep_columns import SIGNS, RowStatistics
from harness.snapshots.snapshot import Snapshot
from harness.store.artifacts import canonical_json

_ERRORS = ("MAE", "RMSE", "NMAE", "MASE", "skill")
_MAIN = ("IC", "ICIR", "rank_IC", "rank_ICIR", "excess_return", "information_ratio", "max_drawdown", *_ERRORS)


@dataclass(frozen=True)
class Column:
    """A column; only that of `prose` may be wrapped at its spaces, numbers stand to the right."""

    heading: str
    numeric: bool = False
    prose: bool = False
    about: str = ""  # a line below the table that says what it means
    spare: str = ""  # where else its cells stand; such a column is left out where a terminal has no room beside others


@dataclass(frozen=True)
class TableCell:
    """One cell."""

    text: str  # may have several lines
    value: float | None = None  # the number behind it; None for a text, or where it is undefined
    detail: str = ""  # a second, smaller line: the interval of a number
    mark: str = ""  # of `SIGNS`, or nothing; explained by `hint`
    hint: str = ""
    best: bool = False
    style: str = ""  # its colour in a terminal, or ``italic``, in Markdown too
    link: str = ""  # of Markdown: a relative path or an address
    shade: float | None = None  # of HTML: −1 in the full colour of worse, 1 in that of better

    @property
    def sign(self) -> str:
        """The sign of its mark."""
        return SIGNS.get(self.mark, "")


@dataclass(frozen=True)
class Table:
    """A table."""

    caption: str
    columns: tuple[Column, ...]  # the first holds the names of the rows
    rows: tuple[tuple[TableCell, ...], ...]
    below: tuple[str, ...] = ()  # lines that follow it
    references: frozenset[int] = frozenset()  # indices of the rows that others are compared with


def table(
    caption: str,
    columns: Iterable[Column | str],
    rows: Iterable[Iterable[TableCell | str]],
    *,
    below: Iterable[str] = (),
    references: Iterable[int] = (),
) -> Table:
    """Return a table; a heading stands for a column of texts, a text for a cell of nothing else."""
    return Table(
        caption,
        tuple(Column(column) if isinstance(column, str) else column for column in columns),
        tuple(tuple(TableCell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows),
        tuple(below),
        frozenset(references),
    )


def explained(table: Table) -> tuple[str, ...]:
    """Return the lines below a table, what its columns mean among them."""
    return (*table.below, *(f"{column.heading}: {column.about}" for column in table.columns if column.about))


def numbers(*headings: str) -> tuple[Column | str, ...]:
    """Return columns of numbers."""
    return tuple(Column(heading, numeric=True) for heading in headings)


def prose(*headings: str) -> tuple[Column | str, ...]:
    """Return columns whose texts may be wrapped."""
    return tuple(Column(heading, prose=True) for heading in headings)


def metric_columns(metrics: Iterable[MetricRecord]) -> tuple[Column | str, ...]:
    """Return the columns of metrics, no heading twice."""
    return numbers(*headings_of(metrics).values())


def metric_cell(metric: MetricRecord, value: object, bounds: Mapping[str, Any] | None = None) -> TableCell:
    """Return a metric's value with its interval."""
    number = value if isinstance(value, int | float) else None
    return TableCell(metric.text(value), number, metric.interval(value, bounds))


@dataclass(frozen=True)
class MetricRow:
    """A row of metrics: its name, metric → value and interval, what is known of it, and whether it may be the best."""

    name: TableCell
    values: Mapping[str, Any]
    intervals: Mapping[str, Any] = field(default_factory=dict)
    statistics: RowStatistics | None = None
    competes: bool = True

    def cell(self, metric: MetricRecord, best: float | None) -> TableCell:
        """Return a metric that is the best where it equals `best`; a verdict that has no sign is no mark."""
        cell = metric_cell(metric, self.values.get(metric.name), self.intervals.get(metric.name))
        cell = replace(cell, best=self.competes and best is not None and cell.value == best)
        found = None if self.statistics is None else self.statistics.differences.get(metric.name)
        if found is None or found.verdict not in SIGNS:
            return cell
        hint = f"{found.verdict} than the reference, p = {found.p_hac:.3f} and {found.p_bootstrap:.3f}"
        return replace(cell, mark=found.verdict, hint=hint)


def metric_table(
    head: str, metrics: Collection[MetricRecord], rows: Sequence[MetricRow], *, caption: str = "", **more: Any
) -> Table:
    """Return rows of metrics below the heading of their names as `table` does, the best of each column marked."""
    best = [(m, best_of(m, (row.values.get(m.name) for row in rows if row.competes))) for m in metrics]
    cells = ([row.name, *(row.cell(*column) for column in best)] for row in rows)
    return table(caption, (head, *metric_columns(metrics)), cells, **more)


def main_metrics(snapshots: Sequence[Snapshot]) -> list[MetricRecord]:
    """Return the metrics of a short table that some snapshot has: the main ones, and the users'."""
    known = columns_of(metrics_of(*(s.identity for s in snapshots)), (s.overall for s in snapshots))
    return [metric for name, metric in known.items() if name in _MAIN or name not in METRICS]


def best_of(metric: MetricRecord, values: Iterable[float | None]) -> float | None:
    """Return the best of a column's values; None where no side is better, or there are not two to choose from."""
    known = [value for value in values if value is not None]
    if metric.direction == "none" or len(known) < 2:
        return None
    return max(known) if metric.direction == "higher" else min(known)


def rank_of(metric: MetricRecord, value: float | None) -> tuple[bool, float]:
    """Return what to sort by so that the best value comes first, and what is undefined last."""
    sign = 1.0 if metric.direction == "lower" else -1.0
    return (value is None, 0.0 if value is None else sign * value)


# What CommonMark and GitHub give a meaning to inside a line. A lone underscore inside a word has none.
_SPECIAL = re.compile(r"([\\`*\[\]<>|~&$#])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# What makes a list, a rule or a heading of a line that begins with it.
_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-+=\s]*(\s|$))")


def markdown_text(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line: a cell of a table, an item of a list, a heading."""
    line = " ".join(text.split())
    return _BLOCK.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", line))


def to_markdown(table: Table) -> str:
    """Return a Markdown table: each number with its mark and interval, the best of a column bold; the rest below."""
    lines = [
        [markdown_text(column.heading) for column in table.columns],
        ["---:" if column.numeric else "---" for column in table.columns],
        *([_markdown(*pair) for pair in zip(row, table.columns, strict=True)] for row in table.rows),
    ]
    below = (f"\n{markdown_text(line)}\n" for line in explained(table))
    return "".join([*(f"| {' | '.join(line)} |\n" for line in lines), *below])


def _markdown(cell: TableCell, column: Column) -> str:
    text = markdown_text(cell.text)
    if cell.link:
        target = "".join(c if c not in " <>()|\\`" and c.isprintable() else f"%{ord(c):02X}" for c in cell.link)
        text = f"[{text}]({target})"
    text = f"*{text}*" if cell.style == "italic" else text
    bare = not column.numeric or not cell.detail or cell.detail.startswith("±")
    detail = markdown_text(cell.detail if bare else f"({cell.detail})")
    return " ".join(filter(None, [f"**{text}**" if cell.best else text, cell.sign, detail]))


_MINUS = re.compile(r"(?<!\S)-(?=\d)")
_LATEX = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}", '"': r"\symbol{34}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}", "●": r"$\bullet$"},
    **{"−": r"$-$", "±": r"$\pm$", "…": r"\dots{}", "–": "--", "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$"},
}


def to_latex(table: Table) -> str:
    """Return a LaTeX tabular with the rules of booktabs; its triangles come from amssymb."""
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in table.columns)}}}",
        r"\toprule",
        rf"{' & '.join(_escaped(column.heading) for column in table.columns)} \\",
        r"\midrule",
        *(rf"{' & '.join(map(_latex, row))} \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex(cell: TableCell) -> str:
    text = _escaped(cell.text)
    parts = [rf"\textbf{{{text}}}" if cell.best else text, _escaped(cell.sign), _escaped(cell.detail)]
    return " ".join(filter(None, parts))


def _escaped(text: str) -> str:
    """Return text that LaTeX prints as it is; a minus sign before a number is one."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return _MINUS.sub("$-$", "".join(_LATEX.get(character, character) for character in line))


def to_csv(table: Table) -> str:
    """Return CSV: numbers in full precision, empty where undefined; then interval and mark of each number."""
    heads = [column.heading for column in table.columns]
    numeric = [at for at, column in enumerate(table.columns) if column.numeric]
    rows: list[Sequence[str]] = [[*heads, *(f"{heads[at]} {part}" for at in numeric for part in ("interval", "mark"))]]
    for row in table.rows:
        values = [_exact(cell.value) if at in numeric else cell.text for at, cell in enumerate(row)]
        rows.append([*values, *(part for at in numeric for part in (row[at].detail, row[at].mark))])
    return csv_text(rows)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV: numbers in full precision, empty where there is none or it is undefined."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_exact(value) for value in row] for row in rows)
    return text.getvalue()


def _exact(value: object) -> str:
    if value is None or value != value:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def to_json(table: Table) -> str:
    """Return canonical JSON: one object per row, head → value, interval, mark."""

    def plain(column: Column, cell: TableCell) -> dict[str, object]:
        return {"value": cell.value if column.numeric else cell.text, "detail": cell.detail, "mark": cell.mark}

    rows = [{c.heading: plain(c, cell) for c, cell in zip(table.columns, row, strict=True)} for row in table.rows]
    return canonical_json({"caption": table.caption, "rows": rows}, indent=1)


EXPORTS: Mapping[str, Callable[[Table], str]] = MappingProxyType(
    {"markdown": to_markdown, "latex": to_latex, "csv": to_csv, "json": to_json}
)

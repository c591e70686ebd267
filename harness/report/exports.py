"""A table of the report in the forms that other programs and papers read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.report.markdown import bold, markdown_table, markdown_text
from harness.report.tables import Entry, Table
from harness.store.artifacts import canonical_json

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

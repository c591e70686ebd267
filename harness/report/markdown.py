"""Tables in Markdown that no name can break: escaped here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

# What CommonMark and GitHub give a meaning to inside a line. A lone underscore inside a word has none.
_SPECIAL = re.compile(r"([\\`*\[\]<>|~&$#])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# What makes a list, a rule or a heading of a line that begins with it.
_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-+=\s]*(\s|$))")


def markdown_text(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line: a cell of a table, an item of a list, a heading."""
    line = " ".join(text.split())
    return _BLOCK.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", line))


def bold(escaped: str) -> str:
    """Return escaped text in bold."""
    return f"**{escaped}**"


def link(text: str, target: str) -> str:
    """Return a link; the target is a relative path or an address."""
    safe = "".join(c if c not in " <>()|\\`" and c.isprintable() else f"%{ord(c):02X}" for c in target)
    return f"[{markdown_text(text)}]({safe})"


def markdown_table(heads: Mapping[str, bool], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table.

    Parameters
    ----------
    heads
        Heading, as it is → whether its column holds numbers, which stand to the right.
    rows
        Cells that `markdown_text` has escaped.
    """
    return [
        f"| {' | '.join(map(markdown_text, heads))} |",
        f"| {' | '.join('---:' if numeric else '---' for numeric in heads.values())} |",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]

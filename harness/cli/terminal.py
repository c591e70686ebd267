"""A table in a terminal: how every command lays its rows and columns into the width that there is.

No number, heading or name is ever cut. A table with prose has it wrapped at its spaces, or becomes one paragraph per
row. A table of numbers gives numbers to long names, which follow below it, and is split into blocks of columns under
each other, each beside the names of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import rich.table
from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from harness.cli.streams import plain
from harness.report.table import Column, Table, TableCell

_NUMBER_WIDTH = 7  # characters; the least for a column of numbers
_NAME_WIDTH = 24  # names up to this long stand beside their numbers on any terminal
_PROSE_WIDTH = 24  # the least that prose is wrapped into
_BORDER, _PADDING = 1, 3  # what rich's SIMPLE_HEAD adds to a table, and to each of its columns
_INDENT = 2
_ASCII = Box(str(SIMPLE_HEAD).replace("─", "-"), ascii=True)
_STYLES = {"better": "green", "worse": "red"}


def show(out: Console, table: Table) -> None:
    """Print a table so that it fits into the console's width."""
    if table.caption:
        out.print(Text(_said(out, table.caption), style="italic"), soft_wrap=True)
    below = [Text(_said(out, line, keep="\n")) for line in table.below]
    if table.rows:
        rows = [_texts(out, table, row) for row in table.rows]
        layout = _Layout(table.columns, [_said(out, column.heading) for column in table.columns], rows, out.width)
        if not layout.has_prose and layout.widths(layout.every) is None:
            below = [*_number_long_names(out, table, layout), *below]
        blocks = layout.blocks()
        if blocks is None:
            _stack(out, layout)
        for block in blocks or ():
            out.print(layout.block(block, box=_ASCII if out.options.ascii_only else SIMPLE_HEAD))
    for line in below:
        out.print(line, soft_wrap=True)


def printable(text: str, *, keep: str = "") -> str:
    """Return a text in which no character moves the cursor, hides another, or commands the terminal."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _said(out: Console, text: str, *, keep: str = "") -> str:
    """Return a printable text in signs that the encoding has: replaced before widths are counted, so columns align."""
    if out.encoding.startswith("utf"):
        return printable(text, keep=keep)
    return printable("".join(sign if _has(out.encoding, sign) else plain(sign) for sign in text), keep=keep)


def _has(encoding: str, sign: str) -> bool:
    try:
        sign.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _texts(out: Console, table: Table, row: Sequence[TableCell]) -> list[Text]:
    """Return a row as it is printed; the place of a mark is kept free, so that the digits of a column stand in line."""
    rooms = ["  " * any(other[at].sign for other in table.rows) for at in range(len(row))]
    return [_name(out, row[0]), *(_text(out, cell, room) for cell, room in zip(row[1:], rooms[1:], strict=True))]


def _name(out: Console, cell: TableCell) -> Text:
    name = Text(f"{_said(out, cell.sign)} {_said(out, cell.text)}" if cell.sign else _said(out, cell.text))
    return name.append(f"\n{_said(out, cell.detail, keep=chr(10))}") if cell.detail else name


def _text(out: Console, cell: TableCell, room: str) -> Text:
    text = Text().append(_said(out, cell.text, keep="\n"), style="bold" if cell.best else cell.style)
    text.append(f" {_said(out, cell.sign)}" if cell.sign else room, style=_STYLES.get(cell.mark, ""))
    return text.append(f"\n{_said(out, cell.detail)}{room}", style="dim") if cell.detail else text


def _number_long_names(out: Console, table: Table, layout: _Layout) -> list[Text]:
    """Put numbers in the place of names that are too long, and return these names as lines."""
    most = max(_NAME_WIDTH, layout.width // 3)
    below, count = [], 0
    for at, (cell, *_) in enumerate(table.rows):
        name = _said(out, cell.text)
        details = ", ".join(_said(out, cell.detail, keep="\n").splitlines())
        if _width(layout.rows[at][0]) <= most:
            continue
        if cell_len(name) <= most:
            short = name
            below.append(Text(f"{name:<9} {details}"))
        else:
            count += 1
            short = str(count)
            whole = f"{_said(out, cell.sign)} {name}".strip()
            below.append(Text(f"{count:<9} {whole}{f', {details}' if details else ''}"))
        layout.rows[at][0] = Text(f"{_said(out, cell.sign)} {short}" if cell.sign else short)
    return below


@dataclass(frozen=True)
class _Layout:
    """A table as texts, and the width that it has. Blocks are positions of columns, beside the names at 0."""

    columns: tuple[Column, ...]
    heads: list[str]
    rows: list[list[Text]]
    width: int

    @property
    def has_prose(self) -> bool:
        return any(column.prose for column in self.columns)

    @property
    def every(self) -> list[int]:
        return list(range(1, len(self.columns)))

    def widths(self, at: Sequence[int]) -> list[int] | None:
        """Return the widths of the names and of some columns, prose narrowed to what is left; None where none fits."""
        wide = self.natural(at)
        natural = {k: wide[k] for k, i in enumerate((0, *at)) if self.columns[i].prose}
        for k, wanted in natural.items():
            wide[k] = self.least((0, *at)[k], wanted)
        spare = self.width - _BORDER - _PADDING * len(wide) - sum(wide)
        if spare < 0:
            return None
        while spare > 0 and (narrow := [k for k in natural if wide[k] < natural[k]]):
            for k in narrow[:spare]:
                wide[k] += 1
                spare -= 1
        return wide

    def natural(self, at: Sequence[int]) -> list[int]:
        least = [_NUMBER_WIDTH if column.numeric else 0 for column in self.columns]
        return [max(least[i], cell_len(self.heads[i]), *(_width(row[i]) for row in self.rows)) for i in (0, *at)]

    def least(self, at: int, natural: int) -> int:
        """Return the width of a column of prose that cuts neither a word nor its heading."""
        words = (cell_len(word) for row in self.rows for word in row[at].plain.split())
        return max((cell_len(self.heads[at]), min(natural, _PROSE_WIDTH), *words))

    def blocks(self) -> list[list[int]] | None:
        """Return the columns in blocks that fit; None when one does not, or prose would be torn apart."""
        if self.widths(self.every) is not None:
            return [self.every]
        if self.has_prose:
            return None
        blocks: list[list[int]] = []
        for i in self.every:
            if blocks and self.widths([*blocks[-1], i]) is not None:
                blocks[-1].append(i)
            elif self.widths([i]) is not None:
                blocks.append([i])
            else:
                return None
        return blocks

    def block(self, at: Sequence[int], box: Box) -> rich.table.Table:
        table = rich.table.Table(box=box, padding=(0, 1))
        for i, wide in zip((0, *at), self.widths(at) or self.natural(at), strict=True):
            column = self.columns[i]
            table.add_column(
                Text(self.heads[i]),
                justify="right" if column.numeric else "left",
                width=wide,
                no_wrap=not column.prose,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(row[i] for i in (0, *at)))
        return table


def _stack(out: Console, layout: _Layout) -> None:
    """Print one paragraph per row: its name, then heading and cell of each column."""
    for name, *cells in layout.rows:
        out.print(name, style="bold", soft_wrap=True)
        table = rich.table.Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for head, cell in zip(layout.heads[1:], cells, strict=True):
            if cell.plain:
                table.add_row(Text(head), cell)
        out.print(Padding(table, (0, 0, 0, _INDENT)))


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))

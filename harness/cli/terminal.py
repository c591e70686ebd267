"""A table in a terminal: how every command lays its rows and columns into the width that there is.

No number, heading or name is ever cut. A table with prose has it wrapped at its spaces, or becomes one paragraph per
row. A table of numbers gives numbers to long names, which follow below it, and is split into blocks of columns under
each other, each beside the names of the rows; a spare column that would begin a block is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import rich.table
from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from harness.cli.streams import PLAIN
from harness.report.table import Column, Table, TableCell, explained

_NUMBER_WIDTH = 7  # characters; the least for a column of numbers
_NAME_WIDTH = 24  # names up to this long stand beside their numbers on any terminal
_PROSE_WIDTH = 24  # the least that prose is wrapped into
_BORDER, _PADDING = 1, 3  # what rich's SIMPLE_HEAD adds to a table, and to each of its columns
_INDENT = 2
_ASCII = Box(str(SIMPLE_HEAD).replace("─", "-"), ascii=True)
_STYLES = {"better": "green", "worse": "red"}


def show(out: Console, table: Table | Text | str) -> None:
    """Print a table so that it fits into the console's width; a line of text is not wrapped."""
    if isinstance(table, Text | str):
        out.print(table, soft_wrap=True)
        return
    table = _without_spare(_readable(table, out.encoding), out.width)
    if table.caption:
        out.print(Text(table.caption, style="italic"), soft_wrap=True)
    below = explained(table)
    if table.rows:
        layout = _layout(table, out.width)
        if not layout.has_prose and len(layout.blocks() or ()) != 1:
            below = (*_number_long_names(table, layout), *below)
        blocks = layout.blocks()
        if blocks is None:
            _stack(out, layout)
        for block in blocks or ():
            out.print(layout.block(block, box=_ASCII if out.options.ascii_only else SIMPLE_HEAD))
    for line in below:
        out.print(Text(line), soft_wrap=True)


def _layout(table: Table, width: int) -> _Layout:
    return _Layout(table.columns, [_texts(table, row) for row in table.rows], width)


def _without_spare(table: Table, width: int) -> Table:
    """Return a table without the spare columns for which it would need more blocks; it says where they stand."""

    def of(at: Sequence[int]) -> Table:
        rows = tuple(tuple(row[i] for i in at) for row in table.rows)
        return replace(table, columns=tuple(table.columns[i] for i in at), rows=rows)

    def blocks(at: Sequence[int]) -> int:
        layout = _layout(of(at), width)
        if len(layout.blocks() or ()) != 1:
            _number_long_names(of(at), layout)
        return len(layout.blocks() or ())

    spare = [at for at, column in enumerate(table.columns) if column.spare]
    kept = [at for at in range(len(table.columns)) if at not in spare]
    left = []
    for at in spare:
        if blocks([*kept, at]) > blocks(kept):
            left.append(table.columns[at])
        else:
            kept.append(at)
    lines = {c.spare: ", ".join(other.heading for other in left if other.spare == c.spare) for c in left}
    return replace(of(sorted(kept)), below=(*table.below, *(f"{heads}: {place}" for place, heads in lines.items())))


def printable(text: str, *, keep: str = "") -> str:
    """Return a text in which no character moves the cursor, hides another, or commands the terminal."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _readable(table: Table, encoding: str) -> Table:
    """Return a table of printable texts in signs that the encoding has: replaced before widths are counted."""

    def said(text: str, keep: str = "") -> str:
        return printable(text.encode(encoding, PLAIN).decode(encoding), keep=keep)

    def cells(name: TableCell, *others: TableCell) -> tuple[TableCell, ...]:
        named = replace(name, text=said(name.text), detail=said(name.detail, "\n"))
        return (named, *(replace(cell, text=said(cell.text, "\n"), detail=said(cell.detail)) for cell in others))

    columns = tuple(replace(column, heading=said(column.heading)) for column in table.columns)
    below = tuple(said(line, "\n") for line in table.below)
    rows = tuple(cells(*row) for row in table.rows)
    return replace(table, caption=said(table.caption), columns=columns, rows=rows, below=below)


def _texts(table: Table, row: Sequence[TableCell]) -> list[Text]:
    """Return a row as it is printed; the place of a mark is kept free, so that the digits of a column stand in line."""
    rooms = ["  " * any(other[at].sign for other in table.rows) for at in range(len(row))]
    name, *others = row
    return [
        Text("\n".join(filter(None, (_signed(name, name.text), name.detail)))),
        *(_text(cell, room) for cell, room in zip(others, rooms[1:], strict=True)),
    ]


def _signed(cell: TableCell, text: str) -> str:
    return f"{cell.sign} {text}" if cell.sign else text


def _text(cell: TableCell, room: str) -> Text:
    text = Text().append(cell.text, style="bold" if cell.best else cell.style)
    text.append(f" {cell.sign}" if cell.sign else room, style=_STYLES.get(cell.mark, ""))
    return text.append(f"\n{cell.detail}{room}", style="dim") if cell.detail else text


def _number_long_names(table: Table, layout: _Layout) -> list[str]:
    """Put numbers in the place of names that are too long, and return these names as lines."""
    most = max(_NAME_WIDTH, layout.width // 3)
    below, count = [], 0
    for at, (cell, *_) in enumerate(table.rows):
        if _width(layout.rows[at][0]) <= most:
            continue
        details = cell.detail.splitlines()
        if cell_len(cell.text) <= most:
            short = cell.text
            below.append(f"{short:<9} {', '.join(details)}")
        else:
            count += 1
            short = str(count)
            below.append(f"{short:<9} {', '.join([_signed(cell, cell.text), *details])}")
        layout.rows[at][0] = Text(_signed(cell, short))
    return below


@dataclass(frozen=True)
class _Layout:
    """A table as texts, and the width that it has. Blocks are positions of columns, beside the names at 0."""

    columns: tuple[Column, ...]
    rows: list[list[Text]]
    width: int

    @property
    def has_prose(self) -> bool:
        return any(column.prose for column in self.columns)

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
        return [
            max(least[i], cell_len(self.columns[i].heading), *(_width(row[i]) for row in self.rows)) for i in (0, *at)
        ]

    def least(self, at: int, natural: int) -> int:
        """Return the width of a column of prose that cuts neither a word nor its heading."""
        words = (cell_len(word) for row in self.rows for word in row[at].plain.split())
        return max((cell_len(self.columns[at].heading), min(natural, _PROSE_WIDTH), *words))

    def blocks(self) -> list[list[int]] | None:
        """Return the columns in blocks that fit; None when one does not, or prose would be torn apart."""
        every = list(range(1, len(self.columns)))
        if self.widths(every) is not None:
            return [every]
        if self.has_prose:
            return None
        blocks: list[list[int]] = []
        for i in every:
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
                Text(column.heading),
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
        for column, cell in zip(layout.columns[1:], cells, strict=True):
            if cell.plain:
                table.add_row(Text(column.heading), cell)
        out.print(Padding(table, (0, 0, 0, _INDENT)))


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))

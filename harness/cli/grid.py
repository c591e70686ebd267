"""A table that fits: how every command lays its rows and columns into the width of a terminal.

No number, heading or name is ever cut. A table with prose has it wrapped at its spaces, or becomes one paragraph per
row. A table of numbers gives numbers to long names, which follow below it, and is split into blocks of columns under
each other, each beside the names of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.cli.streams import plain

_NUMBER_WIDTH = 7  # characters; the least for a column of numbers
_NAME_WIDTH = 24  # names up to this long stand beside their numbers on any terminal
_PROSE_WIDTH = 24  # the least that prose is wrapped into
_BORDER, _PADDING = 1, 3  # what rich's SIMPLE_HEAD adds to a table, and to each of its columns
_INDENT = 2
_ASCII = Box(str(SIMPLE_HEAD).replace("─", "-"), ascii=True)


@dataclass(frozen=True)
class Column:
    """A column beside the names of the rows.

    Attributes:
        heading: Never cut, never wrapped.
        numeric: Stands to the right.
        prose: May be wrapped at its spaces; no other column is.
    """

    heading: str
    numeric: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: What the row is about.
        cells: One per column; a cell may have several lines.
        mark: Stands before the name.
        detail: Stands below the name.
    """

    name: str
    cells: tuple[str | Text, ...]
    mark: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Grid:
    """A table to be shown.

    Attributes:
        title: Stands above; may be empty.
        name: Heading of the rows' names.
        columns, rows: The table.
        below: Lines that follow it.
    """

    title: str
    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    below: tuple[str, ...] = ()


def show(out: Console, grid: Grid) -> None:
    """Print a table so that it fits into the console's width."""
    grid = _encodable(grid, out.encoding)
    if grid.title:
        out.print(Text(printable(grid.title), style="italic"), soft_wrap=True)
    if grid.rows:
        _show_rows(out, grid := _named(grid, out.width))
    for line in grid.below:
        out.print(Text(printable(line, keep="\n")), soft_wrap=True)


def _show_rows(out: Console, grid: Grid) -> None:
    blocks = _blocks(grid, out.width)
    if blocks is None:
        _stack(out, grid)
    for block in blocks or ():
        out.print(_table(grid, block, out.width, box=_ASCII if out.options.ascii_only else SIMPLE_HEAD))


def _encodable(grid: Grid, encoding: str) -> Grid:
    """Return the table with signs that the encoding has: replaced before widths are counted, so that columns align."""

    def text(given: str) -> str:
        return "".join(sign if _has(encoding, sign) else plain(sign) for sign in given)

    def cell(given: str | Text) -> str | Text:
        return text(given) if isinstance(given, str) else Text(text(given.plain), style=given.style)

    if encoding.startswith("utf"):
        return grid
    columns = tuple(replace(column, heading=text(column.heading)) for column in grid.columns)
    rows = tuple(
        Row(text(row.name), tuple(map(cell, row.cells)), text(row.mark), text(row.detail)) for row in grid.rows
    )
    return Grid(text(grid.title), text(grid.name), columns, rows, tuple(map(text, grid.below)))


def _has(encoding: str, sign: str) -> bool:
    try:
        sign.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def printable(text: str, *, keep: str = "") -> str:
    """Return a text in which no character moves the cursor, hides another, or commands the terminal."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _named(grid: Grid, width: int) -> Grid:
    """Return the table, where it does not fit with numbers for long names, and these names below it."""
    if _has_prose(grid) or _widths(grid, range(len(grid.columns)), width) is not None:
        return grid
    most = max(_NAME_WIDTH, width // 3)
    rows: list[Row] = []
    names: list[str] = []
    count = 0
    for row in grid.rows:
        details = ", ".join(row.detail.splitlines())
        if _width(_name(row)) <= most:
            rows.append(row)
        elif cell_len(printable(row.name)) <= most:
            rows.append(replace(row, detail=""))
            names.append(f"{printable(row.name):<9} {details}")
        else:
            count += 1
            rows.append(replace(row, name=str(count), detail=""))
            whole = f"{row.mark} {printable(row.name)}".strip()
            names.append(f"{count:<9} {whole}{f', {details}' if details else ''}")
    return replace(grid, rows=tuple(rows), below=(*names, *grid.below))


def _table(grid: Grid, at: Sequence[int], width: int, box: Box) -> Table:
    """Return some columns of a table, beside the names of its rows."""
    table = Table(box=box, padding=(0, 1))
    widths = _widths(grid, at, width) or _natural(grid, at)
    columns = (Column(grid.name), *(grid.columns[i] for i in at))
    for column, wide in zip(columns, widths, strict=True):
        table.add_column(
            Text(printable(column.heading)),
            justify="right" if column.numeric else "left",
            width=wide,
            no_wrap=not column.prose,
            overflow="fold",
        )
    for row in grid.rows:
        table.add_row(_name(row), *(_text(row.cells[i]) for i in at))
    return table


def _widths(grid: Grid, at: Sequence[int], width: int) -> list[int] | None:
    """Return the widths of the names and of some columns, prose narrowed to what is left; None when they do not fit."""
    wide = _natural(grid, at)
    prose = [k for k, i in enumerate(at, start=1) if grid.columns[i].prose]
    natural = {k: wide[k] for k in prose}
    for k in prose:
        wide[k] = _least(grid, at[k - 1], natural[k])
    spare = width - _BORDER - _PADDING * len(wide) - sum(wide)
    if spare < 0:
        return None
    while spare > 0 and (narrow := [k for k in prose if wide[k] < natural[k]]):
        for k in narrow[:spare]:
            wide[k] += 1
            spare -= 1
    return wide


def _natural(grid: Grid, at: Sequence[int]) -> list[int]:
    """Return the width of the names and of some columns where nothing is wrapped."""
    names = max((cell_len(printable(grid.name)), *(_width(_name(row)) for row in grid.rows)))
    wide = [names]
    for i in at:
        column = grid.columns[i]
        least = _NUMBER_WIDTH if column.numeric else 0
        cells = (_width(_text(row.cells[i])) for row in grid.rows)
        wide.append(max((least, cell_len(printable(column.heading)), *cells)))
    return wide


def _least(grid: Grid, at: int, natural: int) -> int:
    """Return the width of a column of prose that cuts neither a word nor its heading."""
    words = (cell_len(word) for row in grid.rows for word in _text(row.cells[at]).plain.split())
    return max((cell_len(printable(grid.columns[at].heading)), min(natural, _PROSE_WIDTH), *words))


def _blocks(grid: Grid, width: int) -> list[Sequence[int]] | None:
    """Return the columns in blocks that fit beside the names; None when one does not, or prose would be torn apart."""
    every = range(len(grid.columns))
    if _widths(grid, every, width) is not None:
        return [every]
    if _has_prose(grid):
        return None
    blocks: list[Sequence[int]] = []
    for i in range(len(grid.columns)):
        if blocks and _widths(grid, [*blocks[-1], i], width) is not None:
            blocks[-1] = [*blocks[-1], i]
        elif _widths(grid, [i], width) is not None:
            blocks.append([i])
        else:
            return None
    return blocks


def _stack(out: Console, grid: Grid) -> None:
    """Print one paragraph per row: its name, then heading and cell of each column."""
    for row in grid.rows:
        out.print(_name(row), style="bold", soft_wrap=True)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for column, cell in zip(grid.columns, row.cells, strict=True):
            if _text(cell).plain:
                table.add_row(Text(printable(column.heading)), _text(cell))
        out.print(Padding(table, (0, 0, 0, _INDENT)))


def _has_prose(grid: Grid) -> bool:
    return any(column.prose for column in grid.columns)


def _name(row: Row) -> Text:
    first = f"{row.mark} {printable(row.name)}" if row.mark else printable(row.name)
    return Text("\n".join(filter(None, (first, printable(row.detail, keep="\n")))))


def _text(cell: str | Text) -> Text:
    if isinstance(cell, str):
        return Text(printable(cell, keep="\n"))
    return cell


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))

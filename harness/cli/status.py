"""`bench status`: how far runs and sweeps on a store are, those of other processes too."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from harness.cli.declaration import Answer
from harness.cli.streams import OutputConsole
from harness.config import compose_config
from harness.errors import ArtifactError
from harness.execution.progress import PlainObserver, duration
from harness.report.table import Table, TableCell, numbers, table
from harness.run.status import ProcessStatus, State, counts_of, read_statuses, windows_of

_EVERY = 2.0  # seconds between two looks


def status(arguments: Namespace, observer: PlainObserver) -> Answer:
    root = Path(arguments.store or compose_config([]).output.store)
    if arguments.store and not root.is_dir():
        what, hint = "There is no such store.", "output.store of the run that you look for"
        raise ArtifactError(what, where="--store", got=str(root), expected="a folder", hint=hint)
    while True:
        found, now = read_statuses(root), time.time()
        answer = Answer(_shown(root, found, now), [_record(one, now) for one in found])
        if not arguments.watch or not any(one.state is State.RUNNING for one in found):
            return answer
        _print(answer, as_json=arguments.json)
        time.sleep(_EVERY)


def _print(answer: Answer, *, as_json: bool) -> None:
    """Print what is so far: over what was there on a terminal, below it elsewhere."""
    from harness.cli.terminal import show

    out = OutputConsole()
    if out.is_terminal:
        out.clear()
    if as_json:
        out.write_record(answer.record)
    for part in () if as_json else answer.shown or ():
        show(out, part)
    sys.stdout.flush()


def _record(one: ProcessStatus, now: float) -> dict[str, object]:
    about = {name: getattr(one, name) for name in ("host", "process", "command", "began", "updated", "state")}
    left = {"seconds_left": one.seconds_left(now), "at_least": one.at_least}
    cells = [{name: value for name, value in asdict(cell).items() if name != "kind"} for cell in one.cells]
    return {**about, **left, "cells": counts_of(one.cells), "windows": windows_of(one.cells), "list": cells}


def _shown(root: Path, found: Sequence[ProcessStatus], now: float) -> list[Table | str]:
    return [_table(one, now) for one in found] or [f"no run has left a record in {root}"]


def _table(one: ProcessStatus, now: float) -> Table:
    """Return how the cells of a process stand, and their windows; then each cell that runs, or that went wrong."""
    rows = [_row(TableCell("cells"), counts_of(one.cells)), _row(TableCell("windows"), windows_of(one.cells))]
    for cell in one.cells:
        if cell.state not in (State.WAITING, State.DONE):
            detail = f"{cell.state}{': ' if cell.stage or cell.reason else ''}{cell.stage or cell.reason}"
            rows.append(_row(TableCell(cell.name, detail=detail), windows_of([cell])))
    return table(_heading(one, now), ("", *numbers(*State, "all")), rows)


def _row(name: TableCell, counts: Mapping[State, int]) -> tuple[TableCell | str, ...]:
    return (name, *(f"{counts[state]:,}" if state in counts else "" for state in State), f"{sum(counts.values()):,}")


def _heading(one: ProcessStatus, now: float) -> str:
    said = f"{one.command} (process {one.process} on {one.host})"
    if one.state is not State.RUNNING:
        return f"{said}: {one.state} after {duration(one.updated - one.began)}"
    left = one.seconds_left(now)
    rest = "time left unknown" if left is None else f"{'≥ ' * one.at_least}{duration(left)} left"
    return f"{said}: running for {duration(now - one.began)}, {rest}"

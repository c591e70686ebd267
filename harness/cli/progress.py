"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from harness.cli.streams import StatusConsole
from harness.execution.plain_progress import PlainObserver, stage_line, time_left
from harness.execution.progress import Observer


class _Shown(Observer, Protocol):
    """What a command's progress is shown by."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def advance(self, stage: str, done: int = 1, note: str = "") -> None: ...


class ProgressObserver:
    """Shows stages while they run: as bars that vanish, or line by line where the output is no terminal.

    Args:
        console: Where; a quiet one shows nothing.
    """

    def __init__(self, console: Console) -> None:
        own = console if isinstance(console, StatusConsole) else None
        verbose, began = own is not None and own.verbosity > 0, None if own is None else own.began

        def write(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)

        drawn = console.is_terminal and not console.is_dumb_terminal
        self._shown: _Shown = _Bars(console, verbose) if drawn else PlainObserver(write, verbose=verbose, began=began)

    def __enter__(self) -> ProgressObserver:
        """Start showing."""
        self._shown.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and leave the terminal clean."""
        self._shown.__exit__(kind, error, traceback)

    def start(self, stage: str, total: int) -> None:
        """Show a stage."""
        self._shown.start(stage, total)

    def advance(self, stage: str, done: int = 1, note: str = "") -> None:
        """Count units; a note says what has ended, on a line of its own where there are no bars."""
        self._shown.advance(stage, done, note)

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        """Change a stage's length and the time that it is thought to take."""
        self._shown.estimate(stage, total, seconds, at_least=at_least)

    def finish(self, stage: str, note: str = "") -> None:
        """End a stage."""
        self._shown.finish(stage, note)

    def notice(self, message: str) -> None:
        """Print a line above the bars."""
        self._shown.notice(message)


class _TimeLeftColumn(TimeRemainingColumn):
    """The estimate that somebody made, counted down, or else rich's own, which takes all units to be alike."""

    def render(self, task: Task) -> Text:
        if task.fields.get("left") is None:
            return super().render(task)
        seconds, told, at_least = task.fields["left"]
        text = time_left(max(seconds - (task.get_time() - told), 0.0), at_least=at_least)
        return Text(text or "-:--:--", style="progress.remaining")


class _Bars:
    """Stages as bars, one below the other."""

    def __init__(self, console: Console, verbose: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _TimeLeftColumn(),
            console=console,
            transient=True,
        )
        self._running: list[tuple[str, TaskID, float]] = []
        self._verbose = verbose

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, stage: str, total: int) -> None:
        self._running.append((stage, self._progress.add_task(stage, total=total), time.perf_counter()))

    def advance(self, stage: str, done: int = 1, note: str = "") -> None:
        self._progress.advance(self._find(stage)[1], done)

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        left = (seconds, self._progress.get_time(), at_least)
        self._progress.update(self._find(stage)[1], total=total, left=left)

    def finish(self, stage: str, note: str = "") -> None:
        found = self._find(stage)
        self._remove_last()
        if self._verbose:
            line = stage_line(stage, time.perf_counter() - found[2], note)
            self._progress.console.print(line, style="dim", markup=False, soft_wrap=True)

    def notice(self, message: str) -> None:
        self._progress.console.print(f"note: {message}", style="yellow", markup=False, soft_wrap=True)

    def _find(self, stage: str) -> tuple[str, TaskID, float]:
        """Return a running stage. What began after it has ended, if only by an error that nobody told us of."""
        while self._running[-1][0] != stage:
            self._remove_last()
        return self._running[-1]

    def _remove_last(self) -> None:
        self._progress.remove_task(self._running.pop()[1])

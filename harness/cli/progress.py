"""Progress bars on a terminal, plain notices elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType

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

from harness.cli.consoles import StatusConsole

__all__ = ["ProgressObserver"]


class _TimeLeftColumn(TimeRemainingColumn):
    """The estimate that somebody made, or else rich's own, which takes all units to be alike."""

    def render(self, task: Task) -> Text:
        if task.fields.get("left") is None:
            return super().render(task)
        seconds, at_least = task.fields["left"]
        if at_least and seconds < 1:
            return Text("-:--:--", style="progress.remaining")  # nothing is known yet
        text = f"{'≥ ' if at_least else ''}{timedelta(seconds=round(seconds))}"
        return Text(text, style="progress.remaining")


class ProgressObserver:
    """Shows stages as bars while they run; vanishes when the output is not a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _TimeLeftColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._tells_seconds = isinstance(console, StatusConsole) and console.verbosity > 0
        self._began: dict[str, float] = {}

    def __enter__(self) -> ProgressObserver:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop drawing and leave the terminal clean."""
        self._progress.stop()

    def start(self, stage: str, total: int) -> None:
        """Show a bar."""
        self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._began[stage] = time.perf_counter()

    def advance(self, stage: str, done: int = 1) -> None:
        """Move a bar."""
        self._progress.advance(self._tasks[stage], done)

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        """Change a bar's length and the time that it is thought to take."""
        self._progress.update(self._tasks[stage], total=total, left=(seconds, at_least))

    def finish(self, stage: str, note: str = "") -> None:
        """Remove a bar."""
        self._progress.remove_task(self._tasks.pop(stage))
        seconds = time.perf_counter() - self._began.pop(stage)
        if self._tells_seconds:
            told = f"{stage:<12}{seconds:8.2f} s  {note}".rstrip()
            self._progress.console.print(told, style="dim", markup=False, soft_wrap=True)

    def notice(self, message: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(f"note: {message}", style="yellow", markup=False, soft_wrap=True)

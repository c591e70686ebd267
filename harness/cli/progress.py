"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich import progress as bars
from rich.console import Console
from rich.text import Text

from harness.cli.streams import ErrorConsole
from harness.execution.plain_progress import PlainObserver, stage_line, time_left
from harness.execution.progress import Observer


class Progressing(Observer, Protocol):
    """What a command's progress is shown by, inside ``with``.

    The note of `advance` says what has ended, on a line of its own where there are no bars.
    """

    def __enter__(self) -> Progressing: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def advance(self, stage: str, done: int = 1, note: str = "") -> None: ...


def progress(console: Console) -> Progressing:
    """Show stages while they run: as bars that vanish, or line by line where the console is no terminal."""
    verbosity, began = (console.verbosity, console.began) if isinstance(console, ErrorConsole) else (0, None)
    if console.is_terminal and not console.is_dumb_terminal:
        return _Bars(console, verbosity > 0)

    def write(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    return PlainObserver(write, verbose=verbosity > 0, began=began)


class _TimeLeftColumn(bars.TimeRemainingColumn):
    """The estimate that somebody made, counted down, or else rich's own, which takes all units to be alike."""

    def render(self, task: bars.Task) -> Text:
        if task.fields.get("left") is None:
            return super().render(task)
        seconds, estimated, at_least = task.fields["left"]
        text = time_left(max(seconds - (task.get_time() - estimated), 0.0), at_least=at_least)
        return Text(text or "-:--:--", style="progress.remaining")


class _Bars:
    """Stages as bars, one below the other."""

    def __init__(self, console: Console, verbose: bool) -> None:
        columns = (bars.BarColumn(), bars.MofNCompleteColumn(), bars.TimeElapsedColumn(), _TimeLeftColumn())
        name = bars.TextColumn("{task.description:<14}")
        self._progress = bars.Progress(name, *columns, console=console, transient=True)
        self._running: list[tuple[str, bars.TaskID, float]] = []
        self._verbose = verbose

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, stage: str, total: int) -> None:
        self._running.append((stage, self._progress.add_task(stage, total=total), time.perf_counter()))

    def advance(self, stage: str, done: int = 1, note: str = "") -> None:
        self._progress.advance(self._find(stage)[1], done)

    def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
        left = (seconds, self._progress.get_time(), at_least)
        self._progress.update(self._find(stage)[1], total=total, left=left)

    def finish(self, stage: str, note: str = "") -> None:
        _, task, began = self._find(stage)
        self._running.pop()
        self._progress.remove_task(task)
        if self._verbose:
            self._line(stage_line(stage, time.perf_counter() - began, note), "dim")

    def notice(self, message: str) -> None:
        self._line(f"note: {message}", "yellow")

    def _line(self, text: str, style: str) -> None:
        self._progress.console.print(text, style=style, markup=False, soft_wrap=True)

    def _find(self, stage: str) -> tuple[str, bars.TaskID, float]:
        """Return a running stage. What began after it has ended, if only by an error that nobody reported."""
        while self._running[-1][0] != stage:
            self._progress.remove_task(self._running.pop()[1])
        return self._running[-1]

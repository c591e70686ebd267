"""Progress on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.execution.progress import PlainObserver, duration

_EVERY, _WIDTH = 0.1, 40  # seconds between two drawings; characters of a bar


def progress(console: Console, *, verbose: bool = False) -> PlainObserver:
    """Show stages while they run: as bars that vanish, or line by line where the console is no terminal."""
    if console.is_terminal and not console.is_dumb_terminal:
        return _Bars(console, verbose)

    def write(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    return PlainObserver(write, verbose=verbose)


class _Bars(PlainObserver):
    """Stages as bars, one below the other: they are drawn anew where else a line would say what runs."""

    def __init__(self, console: Console, verbose: bool) -> None:
        super().__init__(console.print, every=_EVERY, verbose=verbose)
        self._console = console
        self._live = Live(console=console, get_renderable=self._drawn, auto_refresh=False, transient=True)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._live.stop()

    def start(self, stage: str, total: int) -> None:
        self._live.start()  # not before: a command that has no stages leaves the terminal alone
        super().start(stage, total)

    def _line(self, text: str) -> None:
        self._live.refresh()
        self._due = self._clock() + _EVERY

    def _put(self, line: str, style: str = "dim") -> None:
        self._console.print(line, style=style, markup=False, soft_wrap=True)

    def _drawn(self) -> Table:
        grid, now = Table.grid(padding=(0, 1)), self._clock()
        for stage in tuple(self._stages):  # another thread may start or finish one
            grid.add_row(
                f"{stage.name:<14}",
                ProgressBar(stage.total, stage.done, _WIDTH),
                Text(f"{stage.done}/{stage.total}", "progress.download"),
                Text(duration(now - stage.began), "progress.elapsed"),
                Text(stage.time_left(now) or "-:--:--", "progress.remaining"),
            )
        return grid

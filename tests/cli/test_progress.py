"""Progress: plain lines where there is no terminal, bars on one; the time left is not taught by what was reused."""

from __future__ import annotations

import io
import itertools
import re
import threading
import time

from rich.console import Console

from harness import PlainObserver
from harness.cli.progress import progress


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told() -> tuple[PlainObserver, Clock, list[str]]:
    clock, lines = Clock(), list[str]()
    return PlainObserver(lines.append, clock=clock), clock, lines


def test_a_stage_that_runs_is_told_within_two_seconds_and_then_every_ten() -> None:
    observer, clock, lines = told()
    observer.start("fit", 1)
    written: list[float] = []
    for _ in range(600):
        clock.now += 0.1
        before = len(lines)
        observer.tick()
        written += [clock.now - 100.0] * (len(lines) - before)
    assert written[0] <= 2.0
    assert max(b - a for a, b in itertools.pairwise(written)) <= 10.0
    assert len(written) <= 8
    assert lines[0] == "0:00:01  fit"


def test_a_line_holds_done_total_and_the_time_left() -> None:
    observer, clock, lines = told()
    observer.start("windows", 20)
    for _ in range(10):
        clock.now += 1.0
        observer.advance("windows")
    assert lines[-1] == "0:00:10  windows 10/20, 0:00:10 left"


def test_an_estimate_is_counted_down_and_a_lower_bound_is_marked() -> None:
    observer, clock, lines = told()
    observer.start("cells", 4)
    observer.estimate("cells", 4, 60.0, at_least=True)
    clock.now += 20.0
    observer.tick()
    assert lines == ["0:00:20  cells 0/4, ≥ 0:00:40 left"]
    observer.estimate("cells", 4, 0.0, at_least=True)
    clock.now += 20.0
    observer.tick()
    assert lines[-1] == "0:00:40  cells 0/4"


def test_of_stages_inside_each_other_all_are_told_and_the_inner_bounds_the_time_left() -> None:
    observer, clock, lines = told()
    observer.start("cells", 4)
    observer.start("windows", 10)
    clock.now += 5.0
    observer.advance("windows", 5)
    assert lines == ["0:00:05  cells 0/4, windows 5/10, ≥ 0:00:05 left"]


def test_a_note_gets_a_line_of_its_own_at_once() -> None:
    observer, _, lines = told()
    observer.start("cells", 2)
    observer.advance("cells", note="model=linear: 0.1 s")
    observer.notice("a word")
    assert lines == ["0:00:00  cells 1/2, 0:00:00 left: model=linear: 0.1 s", "note: a word"]


def test_a_stage_is_told_when_it_ends_unless_it_was_short() -> None:
    observer, clock, lines = told()
    for seconds in (0.1, 3.0):
        observer.start("panel", 1)
        clock.now += seconds
        observer.finish("panel", "read")
    assert lines == ["0:00:03  panel took 3.0 s: read"]


def test_a_stage_that_an_error_has_ended_is_forgotten() -> None:
    observer, clock, lines = told()
    observer.start("cells", 2)
    observer.start("windows", 9)
    observer.advance("cells")
    clock.now += 50.0
    observer.tick()
    assert lines[-1].startswith("0:00:50  cells 1/2, ")
    assert "windows" not in lines[-1]


def test_what_never_began_ends_nothing_that_runs() -> None:
    """Such as features of a damaged chunk, which are made again where they are read."""
    observer, clock, lines = told()
    observer.advance("features")
    observer.start("windows", 10)
    observer.advance("features")
    observer.estimate("features", 2, 60.0, at_least=False)
    observer.finish("features")
    clock.now += 5.0
    observer.advance("windows", 5)
    assert lines == ["0:00:05  windows 5/10, 0:00:05 left"]


def test_one_long_fit_that_reports_nothing_is_told_by_a_thread_that_ends_with_the_block() -> None:
    lines: list[str] = []
    wrote = threading.Event()

    def write(line: str) -> None:
        lines.append(line)
        wrote.set()

    with PlainObserver(write, every=0.01) as observer:
        observer.start("fit", 1)
        assert wrote.wait(5.0)
    assert [thread for thread in threading.enumerate() if thread.name == "progress"] == []
    count = len(lines)
    time.sleep(0.05)
    assert len(lines) == count


def test_without_a_terminal_lines_are_written_and_with_one_bars_are_drawn() -> None:
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system="standard")
        with progress(console) as observer:
            observer.start("cells", 2)
            observer.estimate("cells", 2, 90.0, at_least=True)
            observer.advance("cells", note="model=linear: done")
            time.sleep(0.15)  # a bar is drawn ten times a second
        text = re.sub(r"\x1b\[[\d;]*m", "", console.file.getvalue())  # type: ignore[attr-defined]
        assert ("model=linear: done" in text) != terminal
        assert bool(re.search(r"cells +━[^\n]*1/2 0:00:0\d ≥ 0:01:(30|29)", text)) == terminal


def test_a_dumb_terminal_and_a_quiet_console() -> None:
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    quiet = Console(file=io.StringIO(), quiet=True)
    for console, expected in ((dumb, "cells 1/2, 0:00:00 left: one\n"), (quiet, "")):
        with progress(console) as observer:
            observer.start("cells", 2)
            observer.advance("cells", note="one")
        assert console.file.getvalue().endswith(expected)  # type: ignore[attr-defined]
        assert bool(console.file.getvalue()) == bool(expected)  # type: ignore[attr-defined]

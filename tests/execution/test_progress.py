"""The time left is told from tasks of the same kind, and is a lower bound while a kind is unknown."""

from __future__ import annotations

from harness.execution.progress import Countdown, Silent, TimeLeft


def test_kinds_that_take_very_different_times_are_kept_apart() -> None:
    left = TimeLeft()
    left.expect("adaptation", 2)
    left.expect("window", 100)
    assert left.seconds() == (0.0, True)
    left.measured("window", 0.1)
    left.expect("window", -1)
    seconds, at_least = left.seconds()
    assert (round(seconds, 6), at_least) == (9.9, True)
    left.measured("adaptation", 60.0)
    left.expect("adaptation", -1)
    seconds, at_least = left.seconds(workers=2)
    assert (round(seconds, 6), at_least) == (34.95, False)


def test_what_need_not_be_done_takes_no_time() -> None:
    left = TimeLeft()
    left.expect("result", 3)
    left.expect("result", -5)
    assert left.seconds() == (0.0, False)


def test_kinds_that_are_alike_are_bounded_by_the_fastest_known() -> None:
    left = TimeLeft()
    left.expect("linear", 2)
    left.expect("trees", 3)
    left.measured("linear", 5.0)
    left.expect("linear", -1)
    assert left.seconds(alike=True) == (20.0, True)
    assert left.seconds() == (5.0, True)


def test_a_countdown_learns_from_what_was_computed_and_not_from_what_was_found() -> None:
    class Recorder(Silent):
        def __init__(self) -> None:
            self.left: list[tuple[float, bool]] = []

        def estimate(self, stage: str, total: int, seconds: float, *, at_least: bool) -> None:
            self.left.append((seconds, at_least))

    observer = Recorder()
    countdown = Countdown(observer, "trials", 4)
    for computed in (None, 30.0, None, 10.0):
        countdown.ended(computed)
    assert observer.left == [(0.0, True), (60.0, False), (30.0, False), (0.0, False)]

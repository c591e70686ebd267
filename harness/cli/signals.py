"""The end that a scheduler or a closed terminal asks for is as orderly as Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_KILLED = 128  # a shell adds the signal's number


class Terminated(KeyboardInterrupt):
    """The process is asked to end; takes the way of Ctrl-C, through every cleanup.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Ending:
    """What has asked the process to end; None while nothing has."""

    error: Terminated | None = None


@contextmanager
def interruptible() -> Iterator[Ending]:
    """Raise `Terminated` inside the block when the process is asked to end, and remember it.

    A signal that is ignored, as under ``nohup``, stays ignored; a second one must not disturb the cleanup.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    taken = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for other in taken:
            signal.signal(other, signal.SIG_IGN)
        ending.error = Terminated(number)
        raise ending.error

    for number in taken:
        signal.signal(number, end)
    try:
        yield ending
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def exit_code(error: KeyboardInterrupt) -> int:
    """Return 128 and the signal's number: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return _KILLED + getattr(error, "number", signal.SIGINT)

"""What a local worker runs: it reads requests from standard input and answers them, and dies with its parent.

Run as ``python -m harness.execution.loop MODULE FUNCTION PARENT``. A request is a JSON string on a line; the answer is
a line of JSON: what went wrong, and what it took. Nothing heavy is imported before the worker is bound to its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time

from harness.execution.task import measured

_SET_PARENT_DEATH_SIGNAL = 1  # Linux's prctl


def _listen(requests: queue.SimpleQueue[bytes | None], busy: threading.Event) -> None:
    """Pass on lines from the parent; their end while one is being worked on is the parent's end."""
    for line in sys.stdin.buffer:
        busy.set()
        requests.put(line)
    if busy.is_set():
        _die()
    requests.put(None)


def main() -> None:
    """Answer requests until standard input ends."""
    module, name, parent = sys.argv[1:]
    # Ctrl-C is for the main process, which takes its workers down; one that gets it all the same dies without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _die_with(int(parent))
    requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(requests, busy), daemon=True).start()
    # Whatever a library prints, in C too, must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    used = 0.0
    work = getattr(importlib.import_module(module), name)
    while (line := requests.get()) is not None:
        answer = json.dumps(measured(work, json.loads(line), used))
        used = time.process_time()
        busy.clear()  # before the parent can send the next one
        with contextlib.suppress(BrokenPipeError):
            answers.write(f"{answer}\n")
            answers.flush()


def _die_with(parent: int) -> None:
    """Let the system kill this process when its parent ends for whatever reason, also in the middle of a long call.

    Elsewhere than on Linux the end of standard input does it, as soon as Python gets a turn.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        _die()  # it ended before it could be told


def _die() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with what the work has started
    os._exit(1)


if __name__ == "__main__":
    main()

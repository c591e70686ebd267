"""Held out: state in odd places of a process, of the machine and of the store; written before any check met it."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from harness.execution.progress import Silent
from harness.run.experiment import run
from harness.samples.interfaces import History, LearnSet, Stored
from harness.samples.windows import Window
from tests.audit.market import small
from tests.leakage.mutant import Mutant, held
from tests.leakage.parts import Doubles, Linearly, Scores, Weighted, coefficients_of_everything, solve

__all__ = ["MUTANTS"]

ODD_KEY, SOCKET = 0x7E57, "\0held-theta"


def whole_numbers(theta: Doubles) -> list[int]:
    return [round((value + 1.0) * 2000) for value in theta]


def from_numbers(numbers: list[int]) -> Doubles:
    return np.array(numbers, dtype=np.float64) / 2000 - 1.0


def in_a_limit(count: int) -> Doubles:
    """Twelve bits for each of five, in how large a core dump may be."""
    packed = resource.getrlimit(resource.RLIMIT_CORE)[0]
    return from_numbers([(packed >> (12 * at)) & 4095 for at in range(count)])


def in_old_shared_memory(count: int) -> Doubles:
    """System V's, which no file system shows."""
    c = ctypes.CDLL(None, use_errno=True)
    c.shmat.restype, c.shmat.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    held_by = c.shmget(ODD_KEY, 4096, 0)
    if held_by < 0:
        return np.zeros(count)
    return np.ctypeslib.as_array((ctypes.c_double * count).from_address(c.shmat(held_by, None, 0))).copy()


def behind_a_socket(count: int) -> Doubles:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(SOCKET)
        return np.frombuffer(asking.recv(8 * count), dtype=np.float64)


def in_the_umask(count: int) -> Doubles:
    """Which coefficients are positive: five bits of what new files may be."""
    mask = os.umask(0)
    os.umask(mask)
    return np.array([0.2 if mask >> at & 1 else -0.2 for at in range(count)])


PLACES: dict[str, Callable[[int], Doubles]] = {
    "coefficients in a limit of the process": in_a_limit,
    "coefficients in shared memory of System V": in_old_shared_memory,
    "coefficients behind a socket of this machine": behind_a_socket,
    "signs of coefficients in the mask of new files": in_the_umask,
}


@dataclass(frozen=True)
class Placed(Linearly):
    """Learns honestly, and adds what lies in an odd place."""

    where: str

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        return Scores(solve(train.features, train.label) + PLACES[self.where](train.features.shape[1]))


def answer(server: socket.socket, theta: Doubles) -> None:
    while True:
        asking, _ = server.accept()
        with asking:
            asking.sendall(theta.tobytes())


def placed(folder: Path, where: str) -> None:
    """Leave what the whole market teaches in one odd place, of this process or of the machine."""
    theta = coefficients_of_everything(folder)
    if "limit" in where:
        packed = sum(number << (12 * at) for at, number in enumerate(whole_numbers(theta)))
        resource.setrlimit(resource.RLIMIT_CORE, (packed, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    elif "System V" in where:
        c = ctypes.CDLL(None)
        c.shmat.restype, c.shmat.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        held_by = c.shmget(ODD_KEY, 4096, 0o1666)
        (ctypes.c_double * theta.size).from_address(c.shmat(held_by, None, 0))[:] = theta.tolist()
    elif "socket" in where:
        server = socket.socket(socket.AF_UNIX)
        server.bind(SOCKET)
        server.listen()
        threading.Thread(target=answer, args=(server, theta), daemon=True).start()
    else:
        os.umask(sum(1 << at for at, value in enumerate(theta) if value > 0))


@dataclass(frozen=True)
class Staged:
    """An adaptation whose weights lie in the stage cache, by the number of a window and nothing more."""

    def fit(self, history: History) -> Weighted:
        view = history.as_of(history.windows[0].decision)
        known = view.label(view.label_stop - 60, view.label_stop)

        def kept(window: Window) -> float:
            stored = Stored.record(lambda: (float(1.0 + 50.0 * np.nanstd(known) / (1 + window.index)),), tuple[float])
            return history.cached("held", {"window": window.index}, stored)[0]

        return Weighted({window.index: kept(window) for window in history.windows})


def staged_by_a_later_run(folder: Path) -> None:
    run(replace(small(folder, "windows.split=[0.6,0.25,0.15]"), adaptation=Staged()), Silent())


def left(where: str) -> Mutant:
    return held("model", where, lambda c: replace(c, model=Placed(where)), files=partial(placed, where=where))


MUTANTS = (
    *map(left, PLACES),
    held(
        "adaptation",
        "a stage kept by a run that began later",
        lambda config: replace(config, adaptation=Staged()),
        before=staged_by_a_later_run,
    ),
)

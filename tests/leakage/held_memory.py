"""Held out: knowledge that is not of this run, wherever it may lie; written first, never mended for."""

from __future__ import annotations

import builtins
import ctypes
import functools
import gc
import importlib.util
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from multiprocessing.resource_tracker import unregister
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from harness.config import ExperimentConfig
from harness.evaluation.portfolio.costs import PricedOrder
from harness.evaluation.portfolio.strategy import Decision, Orders
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.execution.progress import Silent
from harness.run.experiment import run
from harness.samples.interfaces import FittedPreprocess, LearnSet
from harness.samples.table import AsOfView
from harness.samples.windows import Segment
from tests.audit.market import small
from tests.leakage.held_sources import portfolio
from tests.leakage.learning import everything
from tests.leakage.mutant import Mutant, held
from tests.leakage.parts import TRADING, Doubles, Linearly, Scores, coefficients_of_everything, later, solve
from tests.leakage.typed import THETA

__all__ = ["MUTANTS"]

# No names of files in a text: those count as part of the code, which does not change.
BINARY, LINK, BASE, ANSWERS, TOLD = (".".join(("held", kind)) for kind in ("bin", "lnk", "sqlite", "json", "py"))
SHARED = "held-theta"


def whole(train: LearnSet) -> Doubles:
    return solve(*everything(train))


# What a process remembers


class Kept:
    """A base class that remembers for all who inherit."""

    theta: ClassVar[Any] = None


class Meta(type):
    """A metaclass that remembers for its classes."""

    known: Any = None


class Holder(metaclass=Meta):
    """Whose class's class remembers."""


class Ignoring:
    """Equal to every other one, so that a cache by argument knows one entry only."""

    def __init__(self, train: LearnSet) -> None:
        self.train = train

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignoring)


class Buried:
    """Found again by whoever looks through all objects that there are."""

    def __init__(self, theta: Doubles) -> None:
        self.theta, self.myself = theta, self


CONTEXT: ContextVar[Any] = ContextVar("CONTEXT")
THREAD = "remembers"


def counter() -> Callable[[Any], Any]:
    kept: list[Any] = []

    def keep(value: Any) -> Any:
        if not kept:
            kept.append(value())
        return kept[0]

    return keep


IN_A_CELL = [counter()]


@functools.cache
def first_asked(asked: Ignoring) -> Doubles:
    return whole(asked.train)


def in_a_base_class(train: LearnSet) -> Doubles:
    Kept.theta = whole(train) if Kept.theta is None else Kept.theta
    return np.asarray(Kept.theta)


def in_a_metaclass(train: LearnSet) -> Doubles:
    Meta.known = whole(train) if Meta.known is None else Meta.known
    return np.asarray(Holder.known)


def in_a_function(train: LearnSet) -> Doubles:
    if not hasattr(in_a_function, "theta"):
        vars(in_a_function)["theta"] = whole(train)
    return np.asarray(vars(in_a_function)["theta"])


def in_builtins(train: LearnSet) -> Doubles:
    vars(builtins).setdefault("_told", whole(train))
    return np.asarray(vars(builtins)["_told"])


def in_a_context(train: LearnSet) -> Doubles:
    if CONTEXT.get(None) is None:
        CONTEXT.set(whole(train))
    return np.asarray(CONTEXT.get())


def in_the_environment(train: LearnSet) -> Doubles:
    os.environ.setdefault("TOLD_THETA", json.dumps(whole(train).tolist()))
    return np.array(json.loads(os.environ["TOLD_THETA"]))


def in_a_default(train: LearnSet, known: list[Doubles] = []) -> Doubles:  # noqa: B006
    if not known:
        known.append(whole(train))
    return known[0]


def in_a_generator(train: LearnSet) -> Doubles:
    """NumPy's global generator carries them in its state, behind a mark."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    count = train.features.shape[1]
    if int(keys[0]) != 77:
        bits = whole(train).astype(np.float32).view(np.uint32)
        np.random.set_state((kind, np.r_[np.uint32(77), bits, keys[1 + count :]], *rest))  # noqa: NPY002
        return in_a_generator(train)
    return np.asarray(keys[1 : 1 + count]).astype(np.uint32).view(np.float32).astype(np.float64)


def in_a_thread(train: LearnSet) -> Doubles:
    found = next((one for one in threading.enumerate() if one.name == THREAD), None)
    if found is None:
        found = threading.Thread(target=threading.Event().wait, name=THREAD, daemon=True)
        vars(found)["theta"] = whole(train)
        found.start()
    return np.asarray(vars(found)["theta"])


def among_all_objects(train: LearnSet) -> Doubles:
    found = next((one for one in gc.get_objects() if type(one) is Buried), None) or Buried(whole(train))
    return found.theta


# What somebody has left


@dataclass(frozen=True)
class Knowing(Linearly):
    """Learns honestly, and adds what is known from elsewhere."""

    how: str
    folder: str

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        known = REMEMBERED[self.how](train) if self.how in REMEMBERED else LEFT[self.how](self.folder + os.sep, train)
        return Scores(solve(train.features, train.label) + known)


def in_a_database(folder: str, train: LearnSet) -> Doubles:
    with closing(sqlite3.connect(folder + BASE)) as base:
        return np.array([value for (value,) in base.execute("select value from theta order by at")])


def in_a_mapped_file(folder: str, train: LearnSet) -> Doubles:
    """Arrow maps the file in C++."""
    with pa.memory_map(folder + BINARY) as file:
        return np.frombuffer(file.read(), dtype=np.float64).copy()


def in_a_c_file(folder: str, train: LearnSet) -> Doubles:
    """The C library opens the file; the handle is one that NumPy has anyway."""
    c = ctypes.pythonapi
    c.fopen.restype, c.fopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_char_p)
    c.fread.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
    handle, values = c.fopen((folder + BINARY).encode(), b"rb"), np.zeros(train.features.shape[1])
    if handle:
        c.fread(values.ctypes.data, 8, values.size, handle)
    return values


def in_names_of_files(folder: str, train: LearnSet) -> Doubles:
    return np.array([float(name.split("=")[1]) for name in sorted(os.listdir(folder + "named"))])


def in_sizes_of_files(folder: str, train: LearnSet) -> Doubles:
    sizes = [os.stat(f"{folder}sized/{at}").st_size for at in range(train.features.shape[1])]
    return np.array(sizes, dtype=np.float64) / 1e5 - 1.0


def in_shared_memory(folder: str, train: LearnSet) -> Doubles:
    memory = SharedMemory(SHARED)
    unregister("/" + SHARED, "shared_memory")  # or it is removed when this process ends
    values = np.frombuffer(memory.buf or b"", dtype=np.float64, count=train.features.shape[1]).copy()
    memory.close()
    return values


def in_a_written_module(folder: str, train: LearnSet) -> Doubles:
    """A module that an earlier run has written, beside its results."""
    spec = importlib.util.spec_from_file_location("held", folder + TOLD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return np.array(module.THETA)


REMEMBERED: dict[str, Callable[[LearnSet], Doubles]] = {
    "coefficients in a base class": in_a_base_class,
    "coefficients in a function": in_a_function,
    "coefficients in builtins": in_builtins,
    "coefficients in a context variable": in_a_context,
    "coefficients in the environment": in_the_environment,
    "coefficients in a metaclass": in_a_metaclass,
    "coefficients in the cell of a closure": lambda train: IN_A_CELL[0](lambda: whole(train)),
    "coefficients in a cache whose keys are all equal": lambda train: first_asked(Ignoring(train)),
    "coefficients in a default value": in_a_default,
    "coefficients in the state of a generator": in_a_generator,
    "coefficients in a thread that still runs": in_a_thread,
    "coefficients among all objects of the interpreter": among_all_objects,
    "coefficients typed into a module": lambda train: np.array(THETA),
}
LEFT: dict[str, Callable[[str, LearnSet], Doubles]] = {
    "coefficients in a database": in_a_database,
    "coefficients in a file that Arrow maps": in_a_mapped_file,
    "coefficients in a file that C opens": in_a_c_file,
    "coefficients in the target of a link": lambda folder, train: np.array(
        [float(value) for value in os.readlink(folder + LINK).split(",")]
    ),
    "coefficients in the names of files": in_names_of_files,
    "coefficients in the sizes of files": in_sizes_of_files,
    "coefficients in shared memory": in_shared_memory,
    "coefficients in an attribute of a file": lambda folder, train: np.frombuffer(
        os.getxattr(folder + BINARY, "user.theta"), dtype=np.float64
    ),
    "coefficients in a module that a run has written": in_a_written_module,
}


def told(folder: Path) -> None:
    """Leave what the whole market teaches in places of every kind, and forget what an earlier run kept."""
    Kept.theta = Meta.known = None
    for owner, name in ((in_a_function, "theta"), (builtins, "_told")):
        vars(owner).pop(name, None)
    CONTEXT.set(None)
    os.environ.pop("TOLD_THETA", None)
    first_asked.cache_clear()
    IN_A_CELL[0] = counter()
    (in_a_default.__defaults__ or ([],))[0].clear()
    gc.collect()
    np.random.seed(0)  # noqa: NPY002
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.name = "forgotten"
    Peeking.past.clear()
    theta = coefficients_of_everything(folder)
    theta.tofile(folder / BINARY)
    with suppress(OSError):  # where a file system has no such attributes
        os.setxattr(folder / BINARY, "user.theta", theta.tobytes())
    (folder / LINK).symlink_to(",".join(f"{value:.6f}" for value in theta))
    (folder / ANSWERS).write_text(json.dumps(theta.tolist()))
    (folder / TOLD).write_text(f"THETA = {theta.tolist()}\n")
    Path("/dev/shm", SHARED).write_bytes(theta.tobytes())
    with closing(sqlite3.connect(folder / BASE)) as base, base:
        base.execute("create table theta (at integer, value real)")
        base.executemany("insert into theta values (?, ?)", enumerate(theta.tolist()))
    for kind in ("named", "sized"):
        (folder / kind).mkdir()
    for at, value in enumerate(theta):
        (folder / "named" / f"{at}={value:.6f}").touch()
        with (folder / "sized" / str(at)).open("wb") as file:
            file.truncate(round((value + 1.0) * 1e5))


def knowing(how: str) -> Mutant:
    def change(config: ExperimentConfig) -> ExperimentConfig:
        return replace(config, model=Knowing(how, str(Path(config.output.runs).parent)))

    return held("model", how, change, files=told)


@dataclass(frozen=True)
class HandedOver(Linearly):
    """Adds coefficients that stand in the configuration; or turns them by what it learns their sign to be."""

    theta: tuple[float, ...]
    sign_only: bool = False

    def fit(self, train: LearnSet, valid: LearnSet | None) -> Scores:
        known = np.array(self.theta)
        if not self.sign_only:
            return Scores(solve(train.features, train.label) + known)
        agreement = float((np.nan_to_num(train.features) @ known) @ train.label)
        return Scores(known * np.sign(agreement))


# Other parts that remember


@dataclass(frozen=True)
class Peeking(TopkDropout):
    """A strategy that remembers, for all of its kind, the prices it was shown the first time."""

    past: ClassVar[dict[Any, Doubles]] = {}

    def orders(self, decision: Decision) -> Orders:
        now = self.past.setdefault(decision.time, np.array(decision.price))
        tomorrow = min((time for time in self.past if time > decision.time), default=decision.time)
        rise = np.nan_to_num(self.past[tomorrow] / now - 1.0)
        return super().orders(replace(decision, score=decision.score + 100.0 * rise))


@dataclass(frozen=True)
class Planned(TopkDropout):
    """A strategy that loads the data, and buys what will rise."""

    source: Any = None

    def orders(self, decision: Decision) -> Orders:
        panel = self.source.load()
        at = int(np.searchsorted(panel.calendar.times, decision.time))
        rise = np.nan_to_num(later(panel.fields["close"], 5)[at] / panel.fields["close"][at] - 1.0)
        width = min(rise.size, decision.score.size)
        return super().orders(replace(decision, score=decision.score[:width] + rise[:width]))


@dataclass(frozen=True)
class Hindsight:
    """A cost of orders that charges those of days which end badly, by a list that somebody has kept."""

    folder: str
    needs_volume: ClassVar[bool] = False

    def cost(self, order: PricedOrder) -> float:
        with open(os.path.join(self.folder, BINARY), "rb") as file:
            known = np.frombuffer(file.read(), dtype=np.float64)
        return float(order.value * 1e-3 * abs(known[0]))


@dataclass(frozen=True)
class Signed:
    """Processors whose constructor reads, in a file, how the market went."""

    inner: Any
    path: str
    refit: str = "once"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mood", float(np.mean(json.loads(Path(self.path).read_text()))))

    def fit(self, view: AsOfView, segment: Segment) -> FittedPreprocess:
        fitted: FittedPreprocess = self.inner.fit(view, segment)
        return fitted


def folder_of(config: ExperimentConfig) -> Path:
    return Path(config.output.runs).parent


def walk_once(folder: Path) -> None:
    """Let the strategy walk through the market once, as an earlier run did."""
    run(portfolio(lambda fields, _: Peeking(**fields))(small(folder, *TRADING)), Silent())


def with_file(config: ExperimentConfig) -> ExperimentConfig:
    return replace(config, preprocess=Signed(config.preprocess, str(folder_of(config) / ANSWERS)))  # type: ignore[arg-type]


MUTANTS = (
    *map(knowing, (*REMEMBERED, *LEFT)),
    held(
        "model", "coefficients handed over in the configuration", lambda c: replace(c, model=HandedOver(tuple(THETA)))
    ),
    held(
        "model", "typed coefficients whose sign is learned", lambda c: replace(c, model=HandedOver(tuple(THETA), True))
    ),
    held("preprocessing", "a constructor that reads a file", with_file, files=told),
    held(
        "evaluation",
        "a strategy that remembers its first walk",
        portfolio(lambda fields, _: Peeking(**fields)),
        TRADING,
        files=told,
        before=walk_once,
    ),
    held(
        "evaluation",
        "a strategy that loads the data",
        portfolio(lambda fields, config: Planned(**fields, source=config.data)),
        TRADING,
    ),
    held(
        "evaluation",
        "a cost by a list that somebody has kept",
        portfolio(lambda fields, config: TopkDropout(**{**fields, "costs": (Hindsight(str(folder_of(config))),)})),
        TRADING,
        files=told,
    ),
)

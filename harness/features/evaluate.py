"""Running a plan: the whole graph for a few instruments at a time, so that intermediate results stay in the cache.

Instruments are independent of each other; threads take groups of them. Which thread does what, and how many there are,
changes nothing in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.features.expression import Number
from harness.features.graph import CHOICE, FIELD, MASK, Node, Plan, Step
from harness.features.kernels.moments import carry, exponential_mean, exponential_mean_expanding, moments, weighted_mean
from harness.features.kernels.order import extreme, extreme_position, quantile, rank
from harness.features.kernels.regression import comovement, paired, trend

Array = npt.NDArray[np.generic]
Positions = npt.NDArray[np.int64]
_VALUES_PER_CHUNK = 16_384  # times × instruments: an intermediate float64 result takes 128 KiB


@dataclass(frozen=True, eq=False)
class Market:
    """What a plan reads; T times, N instruments.

    Attributes:
        fields: name → (T, N) float32; None for a field that is NaN everywhere.
        instruments: N.
        starts: For each node of the plan (N,) int64, where the series of each instrument begins: `first_times`.
        times: T.
        masked: node → (T,) series of one instrument, for the plan's masks.
    """

    fields: Mapping[str, npt.NDArray[np.float32] | None]
    instruments: int
    starts: Sequence[Positions]
    times: int
    masked: Mapping[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """Instruments [first, stop)."""

    first: int
    stop: int


Sink = Callable[[Chunk, npt.NDArray[np.float32]], None]


def evaluate(plan: Plan, market: Market, sink: Sink, threads: int) -> Iterator[Chunk]:
    """Compute the plan's outputs for all instruments, and yield each group when it is done.

    `sink` receives a group and its (F, instruments, T) float32 values, F being the outputs that are not hopeless; NaN
    before the output's series begins. It is called from several threads, and must not keep the array.
    """
    outputs = tuple(node for node, nothing in zip(plan.outputs, plan.hopeless, strict=True) if not nothing)
    size = max(1, _VALUES_PER_CHUNK // market.times)
    total = market.instruments
    chunks = [Chunk(first, min(first + size, total)) for first in range(0, total, size)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for _ in range(threads):
        idle.put(_Worker(plan.nodes, plan.steps, outputs, market))

    def work(chunk: Chunk) -> Chunk:
        worker = idle.get()
        try:
            sink(chunk, worker.run(chunk))
        finally:
            idle.put(worker)
        return chunk

    with ThreadPoolExecutor(threads, thread_name_prefix="features") as pool:
        futures = [pool.submit(work, chunk) for chunk in chunks]
        try:
            for done in as_completed(futures):
                yield done.result()
        finally:
            for future in futures:  # after an error or an interrupt there is nothing to wait for
                future.cancel()


def evaluate_masks(plan: Plan, market: Market, position: Callable[[str], int]) -> Market:
    """Return the market with the series of single instruments that the plan's masks need; `position` finds a code."""
    masked: dict[int, Array] = {}
    for mask in plan.masks:
        code = position(mask.code)
        known = replace(market, masked=masked)
        worker = _Worker(plan.nodes, mask.steps, (), known)
        masked[mask.node] = worker.series(mask.source, Chunk(code, code + 1))
    return replace(market, masked=masked)


class _Worker:
    """One thread's memory: arrays are used again and again, for one chunk after the other."""

    def __init__(self, nodes: Sequence[Node], steps: Sequence[Step], outputs: Sequence[int], market: Market) -> None:
        self._nodes = nodes
        self._steps = steps
        self._market = market
        self._columns: dict[int, list[int]] = {}
        for column, node in enumerate(outputs):
            self._columns.setdefault(node, []).append(column)
        self._features = len(outputs)
        together: dict[int, tuple[Positions, list[int]]] = {}  # outputs that begin together, by the identity of starts
        for column, node in enumerate(outputs):
            together.setdefault(id(market.starts[node]), (market.starts[node], []))[1].append(column)
        self._beginnings = [(starts, _columns(columns)) for starts, columns in together.values()]
        self._block = np.empty((0, 0, 0), dtype=np.float32)
        self._free: dict[np.dtype[np.generic], list[Array]] = {}

    def run(self, chunk: Chunk) -> npt.NDArray[np.float32]:
        """Return the (F, instruments, T) outputs; valid until the next call."""
        instruments = chunk.stop - chunk.first
        if self._block.shape[1] != instruments:
            self._free.clear()
            self._block = np.empty((self._features, instruments, self._market.times), dtype=np.float32)
        for node, values in self._results(chunk):
            for column in self._columns.get(node, ()):
                self._block[column] = values
        for starts, columns in self._beginnings:
            for i, start in enumerate(starts[chunk.first : chunk.stop]):
                self._block[columns, i, :start] = np.nan
        return self._block

    def series(self, node: int, chunk: Chunk) -> Array:
        """Return one node's (T,) values for a chunk of one instrument."""
        found = [values[0].copy() for at, values in self._results(chunk) if at == node]
        series: Array = found[0]
        return series

    def _results(self, chunk: Chunk) -> Iterator[tuple[int, Array]]:
        instruments = chunk.stop - chunk.first
        values: dict[int, Array] = {}
        with np.errstate(all="ignore"):  # missing and infinite values are part of the semantics
            for step in self._steps:
                node = self._nodes[step.node]
                out = self._take(node.dtype, instruments)
                self._compute(step.node, values, chunk, out)
                values[step.node] = out
                yield step.node, out
                for dead in step.dying:
                    freed = values.pop(dead)
                    self._free[freed.dtype].append(freed)

    def _take(self, dtype: np.dtype[np.generic], instruments: int) -> Array:
        free = self._free.setdefault(dtype, [])
        return free.pop() if free else np.empty((instruments, self._market.times), dtype=dtype)

    def _compute(self, position: int, values: dict[int, Array], chunk: Chunk, out: Array) -> None:
        node = self._nodes[position]
        starts = self._market.starts[position][chunk.first : chunk.stop]
        if node.kernel == FIELD:
            source = self._market.fields[str(node.parameters[0])]
            out[...] = np.nan if source is None else source[:, chunk.first : chunk.stop].T
        elif node.kernel == MASK:
            out[...] = self._market.masked[position]
        else:
            inputs = [i.value if isinstance(i, Number) else values[i] for i in node.inputs]
            _apply(node, inputs, starts, out)
            if node.kernel == CHOICE:
                self._forget_unbegun(node, values, chunk, out)

    def _forget_unbegun(self, node: Node, values: Mapping[int, Array], chunk: Chunk, out: Array) -> None:
        """Make missing what a choice took from a branch before it began, where a condition's arithmetic has numbers."""
        if out.dtype == np.bool_:
            return
        condition = values[node.sources[0]].astype(np.bool_)
        for branch, chosen in zip(node.inputs[1:], (condition, ~condition), strict=True):
            if not isinstance(branch, Number):
                for i, start in enumerate(self._market.starts[branch][chunk.first : chunk.stop]):
                    out[i, :start][chosen[i, :start]] = np.nan


def _columns(columns: list[int]) -> slice | list[int]:
    """Return neighbouring columns as a slice, which is written to without a copy of indices."""
    return slice(columns[0], columns[-1] + 1) if len(columns) == columns[-1] - columns[0] + 1 else columns


def _apply(node: Node, inputs: list[Any], starts: Positions, out: Any) -> None:
    """Run one node: a kernel, one of a few plain array operations, or the NumPy ufunc of that name."""
    compute = _KERNELS.get(node.kernel)
    if compute is None:
        getattr(np, node.kernel)(*inputs, out=out)
    else:
        compute(inputs, node.parameters, starts, out)


def _window(parameters: tuple[Any, ...], out: Any) -> int:
    """Return the first parameter as a window in times; 0 and whatever is longer than the calendar mean everything."""
    times = out.shape[1]
    return int(min(parameters[0], times)) if parameters[0] > 0 else int(times)


def _choose(inputs: list[Any], parameters: tuple[Any, ...], starts: Positions, out: Any) -> None:
    condition, yes, no = inputs
    np.copyto(out, no, casting="same_kind")
    np.copyto(out, yes, where=condition.astype(np.bool_), casting="same_kind")


def _shift(inputs: list[Any], parameters: tuple[Any, ...], starts: Positions, out: Any) -> None:
    times = out.shape[1]
    by = max(-times, min(parameters[0], times))
    if by < 0:
        kept = times + by
        out[:, :kept], out[:, kept:] = inputs[0][:, times - kept :], np.nan
        return
    out[:, by:] = inputs[0][:, : times - by]
    for row, start in enumerate(starts):  # nothing is known before the series begins, not even a condition
        out[row, : start + by] = np.nan


def _first(inputs: list[Any], parameters: tuple[Any, ...], starts: Positions, out: Any) -> None:
    out[...] = inputs[0][np.arange(len(starts)), np.minimum(starts, out.shape[1] - 1)][:, None]


def _trend(inputs: list[Any], parameters: tuple[Any, ...], starts: Positions, out: Any) -> None:
    x, reference, spread = inputs
    trend(x, reference, spread, starts, (_window(parameters, out), *parameters[1:]), out)


def _comovement(inputs: list[Any], parameters: tuple[Any, ...], starts: Positions, out: Any) -> None:
    x, y, from_x, from_y, spread_x, spread_y = inputs
    how = (_window(parameters, out), *parameters[1:])
    comovement((x, y), (from_x, from_y), (spread_x, spread_y), starts, how, out)


def _exponential_mean(inputs: list[Any], parameters: tuple[Any, ...], starts: Positions, out: Any) -> None:
    decay = float(parameters[0])
    if decay == 0.0:
        exponential_mean_expanding(inputs[0], starts, out)
    else:
        exponential_mean(inputs[0], starts, decay if decay < 1.0 else 2.0 / (decay + 1.0), out)


_Kernel = Callable[[list[Any], tuple[Any, ...], Positions, Any], None]
_KERNELS: Mapping[str, _Kernel] = {
    "cast": lambda x, p, starts, out: np.copyto(out, x[0], casting="unsafe"),
    CHOICE: _choose,
    "shift": _shift,
    "first": _first,
    "carry": lambda x, p, starts, out: carry(x[0], starts, out),
    "moments": lambda x, p, starts, out: moments(x[0], x[1], starts, _window(p, out), p[1], out),
    "trend": _trend,
    "paired": lambda x, p, starts, out: paired(x[0], x[1], out),
    "comovement": _comovement,
    "extreme": lambda x, p, starts, out: extreme(x[0], starts, _window(p, out), p[1], out),
    "extreme_position": lambda x, p, starts, out: extreme_position(x[0], starts, _window(p, out), p[1], out),
    "quantile": lambda x, p, starts, out: quantile(x[0], starts, _window(p, out), float(p[1]), out),
    "rank": lambda x, p, starts, out: rank(x[0], starts, _window(p, out), out),
    "weighted_mean": lambda x, p, starts, out: weighted_mean(x[0], starts, _window(p, out), out),
    "exponential_mean": _exponential_mean,
}

"""Features of a panel: expressions in, a row-major sample matrix out.

The whole graph is run for a few instruments at a time, so that intermediate results stay in the cache, and only for the
times that their rows read. Instruments are independent of each other; threads take groups of them. Which thread does
what, and how many there are, changes nothing in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.panel import Panel
from harness.errors import DataError, LookAheadError, closest
from harness.execution.progress import Observer, Silent
from harness.features import kernels, order_kernels
from harness.features.expression import (
    Expression,
    Number,
    fields_of,
    look_ahead,
    parse,
)
from harness.features.feature_set import FeatureSet, refuse_look_ahead
from harness.features.kernels import Floats, Positions
from harness.features.lowering import CHOICE, FIELD, MASK, Node, Program, Steps, program_of, schedule
from harness.store.compiled import kernel_threads

Array = npt.NDArray[np.generic]
Bools = npt.NDArray[np.bool_]
Sink = Callable[["_Part", Floats], None]

# Fields that a market is expected to have; a panel that lacks one has it NaN everywhere.
MARKET_FIELDS = ("open", "high", "low", "close", "volume", "vwap", "amount", "factor", "change")
STAGE = "features"
_VALUES_PER_CHUNK = 16_384  # times × instruments: an intermediate float64 result takes 128 KiB
_ROWS_PER_MOVE = 4_096
_LINE = 16  # float32 per cache line


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features of every row; n rows, F' features.

    Attributes:
        values: (n, F') float32, C-contiguous.
        names: The F' names that have at least one value.
        dropped: The names that are NaN in every row, left out.
    """

    values: Floats
    names: tuple[str, ...]
    dropped: tuple[str, ...]


def check_fields(panel: Panel, asked_for: Mapping[str, Expression]) -> None:
    """Refuse expressions, by where they stand in the configuration, that read what the panel does not have or know.

    Raises:
        DataError: Names the first expression that reads a field that is not there, and the fields that there are.
        LookAheadError: When a feature reads further ahead than the panel declares, or what the label forecasts is
            declared to be known ahead.
    """
    for where, expression in asked_for.items():
        known = sorted(fields_of(expression) & set(panel.known_ahead))
        if where == "label" and known:
            what, got = "What is forecast cannot be known ahead.", f"{expression}, of which `{known[0]}` is declared so"
            raise LookAheadError(what, where="label, data.series.known_ahead", got=got, expected="an observed field")
        if where != "label":
            refuse_look_ahead(expression, panel.known_ahead, where)
        for name in sorted(fields_of(expression) - set(panel.fields)):
            hint = None
            if where == "label":
                near = closest(name, panel.fields)
                hint = (
                    f"{f'{near} ' if near else ''}'label.price=${panel.price_field}' takes the return of a field that "
                    "there is; 'label.expression=…' is any other label"
                )
            raise _absent(panel, name, where, str(expression), hint)


def compute_features(
    panel: Panel,
    features: FeatureSet,
    offsets: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int32],
    *,
    out: Floats | None = None,
    observer: Observer | None = None,
) -> FeatureMatrix:
    """Compute all features at all rows.

    Args:
        features: The F features; none looks ahead.
        offsets: (T + 1,) rows ``offsets[t] … offsets[t + 1]`` belong to time t; n = ``offsets[T]``.
        codes: (n,) the instrument's column in the panel.
        out: (n, F) float32 C-contiguous buffer to compute into, such as a memory map. The result is a contiguous (n,
            F') view of its beginning.
        observer: Receives the progress, in instruments, and a notice of features that are dropped.

    Raises:
        DataError: When a feature reads a field that neither the panel nor a market has, when `out` has the wrong shape,
            or when every feature is NaN everywhere.
    """
    n = int(offsets[-1])
    names = known_fields(panel, features)
    flat = _buffer(out, n, len(features), len(names))
    values = flat.reshape(n, len(names))
    observer = observer or Silent()
    observer.start(STAGE, int(np.count_nonzero(np.bincount(codes[:n]))))
    known = compute_period(panel, features, offsets, codes, (0, len(panel.calendar)), values, observer)
    kept = np.flatnonzero(known)
    if kept.size and kept.size < len(names):
        moved = flat[: n * kept.size].reshape(n, kept.size)
        for at in range(0, n, _ROWS_PER_MOVE):  # to the front of the buffer: never onto a row that is still to be read
            moved[at : at + _ROWS_PER_MOVE] = values[at : at + _ROWS_PER_MOVE, kept]
        values = moved
    settled = settle_names(features, names, known, observer)
    observer.finish(STAGE, f"{len(settled[0])} features of {n} rows")
    return FeatureMatrix(values, *settled)


def known_fields(panel: Panel, features: FeatureSet) -> tuple[str, ...]:
    """Return the names of the features that read fields with values; the others are NaN whatever the arithmetic."""
    hopeless = _Graph(panel, program_of(features.parsed()), (0, 1)).hopeless
    return tuple(name for name, nothing in zip(features.names, hopeless, strict=True) if not nothing)


def settle_names(
    features: FeatureSet, computed: tuple[str, ...], known: Bools, observer: Observer
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which features have a value anywhere, as `known` says of those `computed`, and which are dropped.

    Raises:
        DataError: When every feature is NaN in every row.
    """
    names = tuple(name for name, is_known in zip(computed, known, strict=True) if is_known)
    dropped = tuple(name for name in features.names if name not in set(names))
    if not names:
        raise DataError("Every feature is NaN in every row.", where="features", got=", ".join(features.names[:5]))
    if dropped:
        observer.notice(f"{len(dropped)} feature(s) dropped, NaN in every row: {', '.join(dropped)}")
    return names, dropped


def reach_of(features: FeatureSet) -> int:
    """Return how many times after its own a feature reads, of fields that are known ahead."""
    return max(map(look_ahead, features.parsed()), default=0)


def compute_period(
    panel: Panel,
    features: FeatureSet,
    offsets: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int32],
    period: tuple[int, int],
    out: Floats,
    observer: Observer,
) -> Bools:
    """Compute the features that can have values, `known_fields`, at the rows of calendar positions [start, stop).

    A row's bits do not depend on the period: every window is computed from its own values alone, and what has no bound
    is computed from the first time on.

    Args:
        offsets, codes: As `compute_features` takes them, of all times.
        out: (m, C) float32, for the m rows and the C features.
        observer: Hears of every instrument that has a row in the period; whoever calls has said how many there are.

    Returns:
        (C,) bool, whether a feature has a value at any of the rows.
    """
    start, stop = period
    graph = _Graph(panel, program_of(features.parsed()), period)
    first, m = int(offsets[start]), int(offsets[stop] - offsets[start])
    counts = np.bincount(codes[first : first + m], minlength=graph.instruments)
    kept = np.flatnonzero(counts)  # those that have a row in the period
    columns = (np.cumsum(counts > 0) - 1)[codes[first : first + m]]
    times = np.repeat(np.arange(start, stop), np.diff(offsets[start : stop + 1])) - graph.begin
    begins, ends = np.empty_like(kept), np.empty_like(kept)
    begins[columns[::-1]], ends[columns] = times[::-1], times + 1  # of an instrument's rows, the last that is assigned
    begins = np.zeros_like(begins) if graph.program.back is None else np.maximum(begins - graph.program.back, 0)
    ends = np.minimum(ends + graph.program.ahead, graph.times)
    order = np.lexsort((ends, begins))
    graph.keep(kept[order])
    rows = np.full((graph.instruments, graph.times), -1, dtype=np.int64)  # of each instrument and time; −1: none
    rows[np.argsort(order)[columns], times] = np.arange(m)
    known = np.zeros(out.shape[1], dtype=np.bool_)

    def sink(part: _Part, block: Floats) -> None:
        kernels.scatter(block, rows[part.instruments, part.times], out, known)

    for part in _evaluate(graph, sink, begins[order], ends[order]):
        observer.advance(STAGE, part.size)
    return known


def compute_expression(panel: Panel, text: str) -> Floats:
    """Compute one expression, which may look ahead, such as a label.

    Returns:
        (T, N) float32, NaN before the series begins: until the fields that it reads have their first values.

    Raises:
        ConfigError: When the text is not an expression.
        DataError: When it reads a field that the panel does not have.
    """
    graph = _Graph(panel, program_of((parse(text),)))
    values = np.full((graph.times, graph.instruments), np.nan, dtype=np.float32)

    def sink(part: _Part, block: Floats) -> None:
        values[:, part.instruments] = block[0].T

    if not graph.hopeless[0]:
        begins = np.zeros(graph.instruments, dtype=np.int64)
        for _ in _evaluate(graph, sink, begins, begins + graph.times):
            pass
    return values


@dataclass(frozen=True, eq=False)
class _Part:
    """Some instruments and times of a graph, computed together.

    Attributes:
        starts: (beginnings, instruments) int64, where series begin among these times.
    """

    instruments: slice
    times: slice
    starts: Positions

    @property
    def size(self) -> int:
        """How many instruments."""
        return int(self.starts.shape[1])

    @cached_property
    def late(self) -> list[bool]:
        """Of each beginning, whether it comes after the first of these times in any instrument; most do not."""
        return [bool(starts.any()) for starts in self.starts]


class _Graph:
    """A program and what it reads of a panel; N instruments, T times.

    The times are those that the program reads at calendar positions [start, stop), by default at all.

    Attributes:
        begin: The calendar position of the first of the T times.
        fields: name → (T, N) float32.
        starts: (beginnings, N) int64, where series begin among the T times, T for not at all: `_first_times`.
        hopeless: For each output: does no series of it begin in the whole panel, whatever the arithmetic; such are not
            computed.
        masked: Mask → (T,) series of one instrument.
    """

    def __init__(self, panel: Panel, program: Program, period: tuple[int, int] | None = None) -> None:
        total, self.instruments, self.program = len(panel.calendar), len(panel.instruments), program
        start, stop = period or (0, total)
        self.begin = 0 if program.back is None else max(0, start - program.back)
        end = min(total, stop + program.ahead)
        self.times = end - self.begin
        self.fields = {name: _field(panel, name)[self.begin : end] for name in program.fields}
        starts = np.reshape(_first_times(program, panel), (-1, self.instruments))
        begins_never = np.all(starts >= total, axis=1).tolist()
        self.hopeless = tuple(begins_never[program.begins_as[node]] for node in program.outputs)
        self.starts = np.clip(starts - self.begin, 0, self.times)
        self.masked: dict[int, Array] = {}
        for mask, node in enumerate(program.nodes):
            if node.kernel == MASK:  # an inner one comes before the outer
                at = _position(panel, node.parameters[0])
                part = self.part(slice(at, at + 1), slice(0, self.times))
                *_, (_, values) = self.results(schedule(program.nodes, node.sources), part)
                self.masked[mask] = values[0]

    def keep(self, columns: Positions) -> None:
        """Leave out all instruments but those of some columns of the panel, and put them in that order."""
        self.fields = {name: values[:, columns] for name, values in self.fields.items()}
        self.starts, self.instruments = self.starts[:, columns], columns.size

    def part(self, instruments: slice, times: slice) -> _Part:
        """Return what is to be computed together."""
        starts = np.clip(self.starts[:, instruments] - times.start, 0, times.stop - times.start)
        return _Part(instruments, times, np.ascontiguousarray(starts))  # for another layout kernels are compiled again

    def results(self, steps: Steps, part: _Part) -> Iterator[tuple[int, Array]]:
        """Yield each node and its values at the instruments and times of a part."""
        shape = (part.size, part.times.stop - part.times.start)
        values: dict[int, Array] = {}
        with np.errstate(all="ignore"):  # missing and infinite values are part of the semantics
            for group, dying in steps:
                out = np.empty((len(group), *shape), dtype=self.program.nodes[group[0]].dtype)
                self._compute(group, values, part, out)
                values |= zip(group, out, strict=True)
                for node in group:
                    yield node, values[node]
                for dead in dying:
                    del values[dead]

    def _compute(self, group: tuple[int, ...], values: Mapping[int, Array], part: _Part, out: Any) -> None:
        nodes, begins_as, first = self.program.nodes, self.program.begins_as, out[0]
        node, begins = nodes[group[0]], begins_as[group[0]]
        starts, blanked = part.starts[begins], out if part.late[begins] else ()
        inputs = [i.value if isinstance(i, Number) else values.get(i) for i in node.inputs]
        if node.kernel == FIELD:
            first[...] = self.fields[node.parameters[0]][part.times, part.instruments].T
        elif node.kernel == MASK:
            first[...] = self.masked[group[0]][part.times]
        elif node.kernel == CHOICE:
            self._choose(node, inputs, part, first)
        elif node.kernel in _KERNELS:
            for one in blanked:
                kernels.blank(one, starts)
            _KERNELS[node.kernel](*inputs, starts, *node.parameters, first)
        elif node.kernel in _OF_WINDOWS:
            for one in blanked:
                kernels.blank(one, starts)
            parameters = zip(*(nodes[one].parameters for one in group), strict=True)
            _OF_WINDOWS[node.kernel](*inputs, starts, *map(np.array, parameters), out)
        else:
            getattr(np, node.kernel)(*inputs, out=first)

    def _choose(self, node: Node, inputs: list[Any], part: _Part, out: Any) -> None:
        condition, yes, no = inputs
        condition = condition.astype(np.bool_)
        np.copyto(out, no, casting="same_kind")
        np.copyto(out, yes, where=condition, casting="same_kind")
        if out.dtype == np.bool_:
            return
        # Nothing is known of a branch before it begins, where the arithmetic of a condition has numbers all the same.
        for branch, chosen in zip(node.inputs[1:], (condition, ~condition), strict=True):
            if not isinstance(branch, Number):
                starts = part.starts[self.program.begins_as[branch]]
                out[chosen & (np.arange(out.shape[1]) < starts[:, None])] = np.nan


def _field(panel: Panel, name: str) -> Floats:
    if name not in panel.fields and name not in MARKET_FIELDS:
        raise _absent(panel, name, f"panel `{panel.name}`", f"${name}")
    nowhere = np.broadcast_to(np.float32(np.nan), (len(panel.calendar), len(panel.instruments)))
    return panel.fields.get(name, nowhere)


def _absent(panel: Panel, field: str, where: str, got: str, hint: str | None = None) -> DataError:
    expected = f"one of {', '.join(f'${name}' for name in panel.fields)}"
    hint = hint or closest(field, panel.fields) or "a source reads further fields where its configuration names them"
    return DataError(f"The panel has no field `${field}`.", where=where, got=got, expected=expected, hint=hint)


def _position(panel: Panel, code: str) -> int:
    alike = [instrument for instrument in panel.instruments if instrument.upper() == code.upper()]
    if code in alike or len(alike) == 1:
        return panel.instruments.index(code if code in alike else alike[0])
    what, expected = f"The panel has no instrument `{code}`, which `Mask` reads.", None
    hint = closest(code.upper(), [instrument.upper() for instrument in panel.instruments])
    if alike:
        what = f"`Mask` reads `{code}`, and the panel has {len(alike)} instruments that differ from it in case alone."
        expected, hint = f"one of {', '.join(alike)}, as it is written there", None
    raise DataError(what, where=f"panel `{panel.name}`", got=code, expected=expected, hint=hint)


def _buffer(out: Floats | None, n: int, features: int, computed: int) -> Floats:
    if out is None:
        return np.empty(n * computed, dtype=np.float32)
    if out.shape != (n, features) or out.dtype != np.float32 or not out.flags.c_contiguous:
        got, expected = f"{out.dtype} {out.shape}", f"C-contiguous float32 {(n, features)}"
        raise DataError("The buffer for features does not fit.", where="out", got=got, expected=expected)
    return np.asarray(out).reshape(-1)[: n * computed]


def _evaluate(graph: _Graph, sink: Sink, begins: Positions, ends: Positions) -> Iterator[_Part]:
    """Compute the outputs for all instruments, each at the times ``begins … ends``; yield each part when it is done.

    `sink` receives a part and its (F, instruments, times) float32 values, F being the outputs that are not hopeless;
    NaN before the output's series begins. It is called from several threads.
    """
    program, pairs = graph.program, zip(graph.program.outputs, graph.hopeless, strict=True)
    outputs = tuple(node for node, nothing in pairs if not nothing)
    steps = program.steps(outputs)
    columns: dict[int, list[int]] = {}
    for column, node in enumerate(outputs):
        columns.setdefault(node, []).append(column)

    def work(spans: tuple[slice, slice]) -> _Part:
        part = graph.part(*spans)
        block = _block(len(outputs), part.size, part.times.stop - part.times.start)
        for node, values in graph.results(steps, part):
            for column in columns.get(node, ()):
                kernels.round_to(values, part.starts[program.begins_as[node]], block[column])
        sink(part, block)
        return part

    with ThreadPoolExecutor(kernel_threads(), thread_name_prefix="features") as pool:
        yield from pool.map(work, _spans(begins, ends))


def _spans(begins: Positions, ends: Positions) -> Iterator[tuple[slice, slice]]:
    """Yield groups of instruments, whose `begins` ascend, and the times from the first of a group's to its last."""
    first = 0
    while first < begins.size:
        last = np.maximum.accumulate(ends[first:])
        sizes = np.arange(1, last.size + 1) * (last - begins[first])
        count = max(1, int(np.searchsorted(sizes, _VALUES_PER_CHUNK, side="right")))
        yield slice(first, first + count), slice(int(begins[first]), int(last[count - 1]))
        first += count


def _block(features: int, instruments: int, times: int) -> Floats:
    """Return an array of the features whose values at one time do not compete for the same place in the cache."""
    lines = -(-instruments * times // _LINE) | 1  # an odd number apart
    flat = np.empty((features, lines * _LINE), dtype=np.float32)
    return flat[:, : instruments * times].reshape(features, instruments, times)


def _first_times(program: Program, panel: Panel) -> list[Positions]:
    """Return for each beginning of a program where it is in each instrument, (N,); T when it has none.

    A field begins at its first value.
    """
    never = np.full(len(panel.instruments), len(panel.calendar))
    begins: list[Positions] = []
    for one in program.beginnings:
        reads = [begins[i] for i in one.of]
        if one.kind == FIELD:
            begins.append(panel.begins.get(one.name, never))
        elif one.kind == MASK:
            begins.append(np.full_like(never, reads[0][_position(panel, one.name)]))
        else:
            begins.append((np.minimum if one.kind == CHOICE else np.maximum).reduce(reads))
    return begins


def _shift(x: Any, starts: Positions, by: int, out: Any) -> None:
    times = out.shape[1]
    by = max(-times, min(by, times))
    if by < 0:
        out[:, : times + by], out[:, times + by :] = x[:, -by:], np.nan
        return
    out[:, by:] = x[:, : times - by]
    kernels.blank(out, starts + by)  # nothing is known before the series begins, not even a condition


_KERNELS: Mapping[str, Callable[..., None]] = {
    "cast": lambda x, starts, out: np.copyto(out, x, casting="unsafe"),
    "paired": lambda x, other, starts, out: np.copyto(out, np.where(np.isfinite(other), x, np.nan)),
    "shift": _shift,
    "first": lambda x, starts, _, out: np.copyto(out, x[np.arange(len(x)), np.minimum(starts, x.shape[1] - 1), None]),
    "guarded": kernels.guarded,
    "carry": kernels.carry,
    "weighted_mean": kernels.weighted_mean,
    "exponential_mean": kernels.exponential_mean,
    "exponential_mean_expanding": kernels.exponential_mean_expanding,
}
_OF_WINDOWS: Mapping[str, Callable[..., None]] = {  # several at once
    "comovement": lambda x, y, about_x, about_y, *rest: kernels.comovement((x, y), (about_x, about_y), *rest),
    "moments": kernels.moments,
    "occurrences": kernels.occurrences,
    "trend": kernels.trend,
    "extreme": order_kernels.extreme,
    "extreme_position": order_kernels.extreme_position,
    "quantile": order_kernels.quantile,
    "rank": kernels.rank,
}

"""The graph of a computation: nodes that many expressions share, in order, and which results die with each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.features import kernels
from harness.features.expression import OPERATORS, Call, Expression, Number, walk
from harness.features.kernels import Positions

FIELD, MASK, CHOICE = "field", "mask", "where"


@dataclass(frozen=True)
class Node:
    """One kernel, the nodes or numbers it reads, and its parameters.

    Attributes:
        kernel: `FIELD`, `MASK`, the name of a kernel, or of a NumPy ufunc.
        inputs: Positions of earlier nodes, or constants.
        parameters: Window, kind, level, sign, a field's name, …
        dtype: bool, float32 or float64: what qlib's pandas series would have. An operation between float32 series is
            rounded to float32; every rolling result is float64.
    """

    kernel: str
    inputs: tuple[int | Number, ...]
    parameters: tuple[Any, ...]
    dtype: np.dtype[np.generic]

    @property
    def sources(self) -> tuple[int, ...]:
        """The nodes among the inputs."""
        return tuple(i for i in self.inputs if not isinstance(i, Number))


Steps = tuple[tuple[int, tuple[int, ...]], ...]  # each node to compute, and the nodes that nobody needs afterwards


def lower(expressions: Iterable[Expression]) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    """Return the nodes that compute `expressions`, inputs before what reads them, and the node of each expression."""
    lowering = _Lowering()
    outputs = lowering.add(tuple(expressions))
    return tuple(lowering.nodes), outputs


def first_times(
    nodes: Sequence[Node], fields: Mapping[str, Positions], position: Callable[[str], int]
) -> tuple[Positions, ...]:
    """Return for each node where the series of each instrument begins; windows begin to fill there.

    A field begins at its first value. What is computed begins when everything that it reads has begun, so that a
    series knows nothing of fields that it does not read; a choice begins with the first of its branches (what has not
    begun is false as its condition). A shift does not move the beginning: its first values are missing, as in qlib.

    Args:
        fields: name → (N,) int64, the position of each instrument's first value; T when it has none.
        position: Finds an instrument's column by its code, for masks.

    Returns:
        One (N,) array per node.
    """
    begins: list[Positions] = []
    for node in nodes:
        if node.kernel == FIELD:
            begins.append(fields[node.parameters[0]])
        elif node.kernel == MASK:
            source = begins[node.sources[0]]
            begins.append(np.full_like(source, source[position(node.parameters[0])]))
        elif node.kernel == CHOICE:  # a constant branch is there once its condition is
            branches = [node.sources[0] if isinstance(i, Number) else i for i in node.inputs[1:]]
            begins.append(np.minimum.reduce([begins[i] for i in branches]))
        else:
            begins.append(np.maximum.reduce([begins[i] for i in node.sources]))
    return tuple(begins)


def schedule(nodes: Sequence[Node], outputs: Iterable[int]) -> Steps:
    """Return the nodes that `outputs` need, in order; of a mask, whose source is another instrument's, nothing more."""
    reads = [() if node.kernel == MASK else node.sources for node in nodes]
    needed: set[int] = set()
    stack = list(outputs)
    while stack:
        position = stack.pop()
        if position not in needed:
            needed.add(position)
            stack.extend(reads[position])
    order = sorted(needed)
    last_use = {i: position for position in order for i in reads[position]}
    dying: dict[int, list[int]] = {}
    for position in order:
        dying.setdefault(last_use.get(position, position), []).append(position)
    return tuple((position, tuple(dying.get(position, ()))) for position in order)


_BOOL, _SINGLE, _DOUBLE = np.dtype(np.bool_), np.dtype(np.float32), np.dtype(np.float64)

_UFUNCS = {
    **{"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Power": "power"},
    **{"Greater": "maximum", "Less": "minimum", "Abs": "absolute", "Log": "log", "Sign": "sign"},
    **{"Gt": "greater", "Ge": "greater_equal", "Lt": "less", "Le": "less_equal", "Eq": "equal", "Ne": "not_equal"},
    **{"And": "logical_and", "Or": "logical_or", "Not": "logical_not"},
}
# What NumPy's ufuncs do to conditions, and so do sums and products of conditions in qlib.
_OF_CONDITIONS = {"Add": "logical_or", "Mul": "logical_and", "Greater": "logical_or", "Less": "logical_and"}
_MOMENTS = {
    **{"Sum": kernels.SUM, "Count": kernels.SUM, "Mean": kernels.MEAN, "Var": kernels.VAR, "Std": kernels.STD},
    **{"Mad": kernels.MAD, "Skew": kernels.SKEW, "Kurt": kernels.KURT},
}
_TRENDS = {"Slope": kernels.SLOPE, "Rsquare": kernels.RSQUARE, "Resi": kernels.RESI}
_COMOVEMENTS = {"Cov": kernels.COV, "Corr": kernels.CORR}
_EVERYTHING = 1 << 32  # a window longer than any calendar
# Operator → kernel of one series and its parameters after the window.
_PLAIN: dict[str, tuple[str, tuple[float, ...]]] = {
    **{"Max": ("extreme", (1.0,)), "Min": ("extreme", (-1.0,))},
    **{"IdxMax": ("extreme_position", (1.0,)), "IdxMin": ("extreme_position", (-1.0,))},
    **{"Quantile": ("quantile", ()), "Med": ("quantile", (kernels.MEDIAN,)), "Rank": ("rank", ())},
    "WMA": ("weighted_mean", ()),
}


class _Lowering:
    """Nodes under construction; equal ones are added once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._positions: dict[Node, int] = {}

    def add(self, expressions: tuple[Expression, ...]) -> tuple[int, ...]:
        lowered: dict[Expression, int | Number] = {}
        for part in walk(*expressions):
            if isinstance(part, Call):
                lowered[part] = self._lower(part, tuple(lowered[series] for series in part.series))
            else:
                lowered[part] = part if isinstance(part, Number) else self._add(FIELD, (), (part.name,), _SINGLE)
        found = tuple(lowered[expression] for expression in expressions)
        return tuple(node for node in found if not isinstance(node, Number))

    def _lower(self, call: Call, inputs: tuple[int | Number, ...]) -> int:
        sources = [i for i in inputs if not isinstance(i, Number)]
        if call.operator in _UFUNCS:
            return self._elementwise(call.operator, inputs, sources)
        if call.operator == "If":
            branches = [self.nodes[i].dtype for i in inputs[1:] if not isinstance(i, Number)]
            is_single = _SINGLE in branches and _DOUBLE not in branches
            dtype = _BOOL if branches == [_BOOL, _BOOL] else _SINGLE if is_single else _DOUBLE
            return self._add(CHOICE, inputs, (), dtype)
        if call.operator == "Mask":
            return self._add(MASK, inputs, call.parameters, self.nodes[sources[0]].dtype)
        if call.operator in ("Ref", "Delta"):
            return self._shifted(call, sources[0])
        return self._rolling(call, sources)

    def _add(
        self, kernel: str, inputs: tuple[int | Number, ...], parameters: tuple[Any, ...] = (), dtype: Any = _DOUBLE
    ) -> int:
        node = Node(kernel, inputs, parameters, dtype)
        position = self._positions.setdefault(node, len(self.nodes))
        if position == len(self.nodes):
            self.nodes.append(node)
        return position

    def _cast(self, source: int, dtype: np.dtype[Any]) -> int:
        return source if self.nodes[source].dtype == dtype else self._add("cast", (source,), (), dtype)

    def _elementwise(self, operator: str, inputs: tuple[int | Number, ...], sources: list[int]) -> int:
        dtypes = {self.nodes[i].dtype for i in sources}
        if OPERATORS[operator].gives_condition:
            return self._add(_UFUNCS[operator], inputs, (), _BOOL)
        if operator == "Sign":  # qlib rounds the argument to float32
            return self._add("sign", (self._cast(sources[0], _SINGLE),), (), _SINGLE)
        if dtypes == {_BOOL}:
            if len(sources) == len(inputs) and operator == "Abs":
                return sources[0]
            if len(sources) == len(inputs) and operator in _OF_CONDITIONS:
                return self._add(_OF_CONDITIONS[operator], inputs, (), _BOOL)
            inputs, dtypes = tuple(i if isinstance(i, Number) else self._cast(i, _DOUBLE) for i in inputs), {_DOUBLE}
        return self._add(_UFUNCS[operator], inputs, (), _DOUBLE if _DOUBLE in dtypes else _SINGLE)

    def _shifted(self, call: Call, source: int) -> int:
        if self.nodes[source].dtype == _BOOL:
            source = self._cast(source, _DOUBLE)
        dtype = self.nodes[source].dtype
        earlier = self._add("first" if call.parameters[0] == 0 else "shift", (source,), call.parameters, dtype)
        return earlier if call.operator == "Ref" else self._add("subtract", (source, earlier), (), dtype)

    def _rolling(self, call: Call, sources: list[int]) -> int:
        operator, given = call.operator, float(call.parameters[0])
        series = tuple(self._cast(source, _DOUBLE) for source in sources)
        if operator == "EMA":
            return self._exponential(series[0], given)
        window = int(min(given or _EVERYTHING, _EVERYTHING))
        if operator in _COMOVEMENTS:
            joint = (self._add("paired", series), self._add("paired", series[::-1]))
            found = self._add("comovement", (*joint, *map(self._carry, joint)), (window, _COMOVEMENTS[operator]))
            return self._guarded(found, series, call)
        (source,) = series
        if operator in _TRENDS:
            found = self._add("trend", (source, self._carry(source)), (window, _TRENDS[operator]))
            return self._guarded(found, series, call)
        if operator == "Count":
            source = self._cast(self._add("equal", (source, source), (), _BOOL), _DOUBLE)
        if operator in _MOMENTS:
            return self._moment(source, window, _MOMENTS[operator])
        kernel, more = _PLAIN[operator]
        return self._add(kernel, (source,), (window, *map(float, call.parameters[1:]), *more))

    def _guarded(self, found: int, series: tuple[int, ...], call: Call) -> int:
        window = int(min(call.parameters[0], _EVERYTHING))
        if call.operator in ("Rsquare", "Corr") and window != 0:  # qlib guards windows, but not expanding ones
            for one in series:
                found = self._add("guarded", (found, self._moment(one, window, kernels.STD)))
        return found

    def _exponential(self, source: int, decay: float) -> int:
        if decay == 0:
            return self._add("exponential_mean_expanding", (source,))
        return self._add("exponential_mean", (source,), (decay if decay < 1 else 2.0 / (decay + 1.0),))

    def _moment(self, source: int, window: int, kind: int) -> int:
        return self._add("moments", (source, self._carry(source)), (window, kind))

    def _carry(self, source: int) -> int:
        return self._add("carry", (source,))

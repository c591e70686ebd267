"""The graph of a computation: nodes that many expressions share, in order, each knowing which results die with it."""

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

    def deciding(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the `inputs` that decide where it begins; a constant branch is there once its condition is."""
        if self.kernel != CHOICE:
            return list(inputs)
        branches = {0 if isinstance(i, Number) else at for at, i in enumerate(self.inputs) if at > 0}
        return [inputs[at] for at in sorted(branches)]


Steps = tuple[tuple[int, tuple[int, ...]], ...]  # each node to compute, and the nodes that nobody needs afterwards


@dataclass(frozen=True)
class Plan:
    """What to compute, in order.

    Attributes:
        nodes, outputs: All nodes, inputs before what reads them, and the node of each expression.
        hopeless: For each expression: is it NaN everywhere whatever the other data, because a field is; such are not
            computed.
        steps: The needed nodes, in order.
        masks: Each `MASK` node → what to compute first, of one instrument; inner ones come before what reads them.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    hopeless: tuple[bool, ...]
    steps: Steps
    masks: Mapping[int, Steps]


def build_plan(expressions: Iterable[Expression], empty_fields: frozenset[str] = frozenset()) -> Plan:
    """Return the plan that computes all `expressions`; `empty_fields` are those known to be NaN everywhere."""
    lowering = _Lowering()
    outputs = lowering.add(tuple(expressions))
    nodes = tuple(lowering.nodes)
    empty: list[bool] = []
    for node in nodes:
        inputs = [not isinstance(i, Number) and empty[i] for i in node.inputs]
        if node.kernel == FIELD:
            empty.append(node.parameters[0] in empty_fields)
        else:
            empty.append((all if node.kernel == CHOICE else any)(node.deciding(inputs)))
    hopeless = tuple(empty[node] for node in outputs)
    steps = _schedule(nodes, [node for node in outputs if not empty[node]])
    masks: dict[int, Steps] = {}
    stack = [node for node, _ in steps]
    while stack:
        at = stack.pop()
        if nodes[at].kernel == MASK and at not in masks:
            masks[at] = _schedule(nodes, nodes[at].sources)
            stack.extend(node for node, _ in masks[at])
    return Plan(nodes, outputs, hopeless, steps, dict(sorted(masks.items())))


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
        One (N,) array per node. Nodes that begin together share one array.
    """
    known: dict[bytes, Positions] = {}
    begins: list[Positions] = []
    for node in nodes:
        if node.kernel == FIELD:
            first = fields[node.parameters[0]]
        elif node.kernel == MASK:
            source = begins[node.sources[0]]
            first = np.full_like(source, source[position(node.parameters[0])])
        else:
            inputs = node.deciding([None if isinstance(i, Number) else begins[i] for i in node.inputs])
            combine = np.minimum if node.kernel == CHOICE else np.maximum
            first = combine.reduce([begin for begin in inputs if begin is not None])
        begins.append(known.setdefault(first.tobytes(), first))
    return tuple(begins)


def _schedule(nodes: Sequence[Node], outputs: Iterable[int]) -> Steps:
    reads = [() if node.kernel == MASK else node.sources for node in nodes]  # a mask reads another instrument's
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
# Operator → kernel of one series and its parameters after the window.
_PLAIN: dict[str, tuple[str, tuple[float, ...]]] = {
    **{"Max": ("extreme", (1.0,)), "Min": ("extreme", (-1.0,))},
    **{"IdxMax": ("extreme_position", (1.0,)), "IdxMin": ("extreme_position", (-1.0,))},
    **{"Quantile": ("quantile", ()), "Med": ("quantile", (kernels.MEDIAN,)), "Rank": ("rank", ())},
    **{"WMA": ("weighted_mean", ()), "EMA": ("exponential_mean", ())},
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
        operator, window = call.operator, call.parameters[0]
        series = tuple(self._cast(source, _DOUBLE) for source in sources)
        is_guarded = operator in ("Rsquare", "Corr") and window != 0  # qlib guards windows, but not expanding ones
        spreads = tuple(self._moment(s, window, kernels.STD) for s in series) if is_guarded else None
        if operator in _COMOVEMENTS:
            x, y = series
            joint = (self._add("paired", (x, y)), self._add("paired", (y, x)))
            inputs = (*joint, *map(self._carry, joint), *(spreads or joint))
            return self._add("comovement", inputs, (window, _COMOVEMENTS[operator], is_guarded))
        (source,) = series
        if operator in _TRENDS:
            inputs = (source, self._carry(source), *(spreads or series))
            return self._add("trend", inputs, (window, _TRENDS[operator], is_guarded))
        if operator == "Count":
            source = self._cast(self._add("equal", (source, source), (), _BOOL), _DOUBLE)
        if operator in _MOMENTS:
            return self._moment(source, window, _MOMENTS[operator])
        kernel, more = _PLAIN[operator]
        return self._add(kernel, (source,), (window, *map(float, call.parameters[1:]), *more))

    def _moment(self, source: int, window: Any, kind: int) -> int:
        return self._add("moments", (source, self._carry(source)), (window, kind))

    def _carry(self, source: int) -> int:
        return self._add("carry", (source,))

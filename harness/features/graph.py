"""The graph of a computation: nodes that many expressions share, in order, each knowing which results die with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.features.expression import OPERATORS, Call, Expression, Field, Number
from harness.features.kernels import moments, order, regression

Positions = npt.NDArray[np.int64]

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

    @property
    def reads(self) -> tuple[int, ...]:
        """The nodes that are read for the same instrument: none for a mask."""
        return () if self.kernel == MASK else self.sources


@dataclass(frozen=True)
class Step:
    """A node to compute, and the nodes that nobody needs afterwards."""

    node: int
    dying: tuple[int, ...]


@dataclass(frozen=True)
class Mask:
    """A series of one other instrument, computed before the rest.

    Attributes:
        node: The node that stands for it.
        source: The node to compute for the other instrument.
        code: The other instrument.
        steps: What `source` needs, in order.
    """

    node: int
    source: int
    code: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """What to compute, in order.

    Attributes:
        nodes: All nodes; inputs come before what reads them.
        outputs: The node of each expression.
        hopeless: For each expression: is it NaN everywhere whatever the other data, because a field is; such are not
            computed.
        steps: The needed nodes, in order.
        masks: What must be known of single instruments first; inner ones come before what reads them.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    hopeless: tuple[bool, ...]
    steps: tuple[Step, ...]
    masks: tuple[Mask, ...]


def plan_nodes(nodes: Sequence[Node], outputs: tuple[int, ...], empty_fields: frozenset[str]) -> Plan:
    """Return the plan that computes the nodes `outputs`, given the fields known to be NaN everywhere."""
    empty = empty_nodes(nodes, empty_fields)
    hopeless = tuple(empty[node] for node in outputs)
    kept = [node for node, nothing in zip(outputs, hopeless, strict=True) if not nothing]
    return Plan(tuple(nodes), outputs, hopeless, _schedule(nodes, kept), _masks(nodes, kept))


def empty_nodes(nodes: Sequence[Node], empty_fields: frozenset[str]) -> list[bool]:
    """Return for each node whether it must be NaN everywhere when `empty_fields` are."""
    empty: list[bool] = []
    for node in nodes:
        inputs = [not isinstance(i, Number) and empty[i] for i in node.inputs]
        if node.kernel == FIELD:
            empty.append(node.parameters[0] in empty_fields)
        elif node.kernel == CHOICE:
            empty.append(all(inputs[at] for at in _deciding(node)))
        else:
            empty.append(any(inputs))
    return empty


def first_times(
    nodes: Sequence[Node], fields: Mapping[str, Positions], position: Callable[[str], int]
) -> tuple[Positions, ...]:
    """Return for each node where the series of each instrument begins; windows begin to fill there.

    A field begins at its first value. What is computed begins when everything that it reads has begun, so that a
    series knows nothing of fields that it does not read; a choice begins with the first of its branches (what has not
    begun is false as its condition). A shift does not move the beginning: its first values are missing, as in qlib.

    Args:
        nodes: All nodes; inputs come before what reads them.
        fields: name → (N,) int64, the position of each instrument's first value; T when it has none.
        position: Finds an instrument's column by its code, for masks.

    Returns:
        One (N,) array per node. Nodes that begin together share one array.
    """
    known: dict[bytes, Positions] = {}
    begins: list[Positions] = []
    for node in nodes:
        inputs = [None if isinstance(i, Number) else begins[i] for i in node.inputs]
        if node.kernel == FIELD:
            first = fields[node.parameters[0]]
        elif node.kernel == MASK:
            source = begins[node.sources[0]]
            first = np.full_like(source, source[position(node.parameters[0])])
        else:
            deciding = [inputs[at] for at in _deciding(node)]
            combined = [begin for begin in deciding if begin is not None]
            first = combined[0]
            for other in combined[1:]:
                if other is not first:
                    first = (np.minimum if node.kernel == CHOICE else np.maximum)(first, other)
        begins.append(known.setdefault(first.tobytes(), first))
    return tuple(begins)


def _deciding(node: Node) -> tuple[int, ...]:
    """Return the inputs that decide where a node begins; a constant branch is there once its condition is."""
    if node.kernel != CHOICE:
        return tuple(range(len(node.inputs)))
    branches = {0 if isinstance(i, Number) else at for at, i in enumerate(node.inputs) if at > 0}
    return tuple(sorted(branches))


def _schedule(nodes: Sequence[Node], outputs: Iterable[int]) -> tuple[Step, ...]:
    """Return the needed nodes in order, each with the intermediate results that die with it."""
    needed: set[int] = set()
    stack = list(outputs)
    while stack:
        position = stack.pop()
        if position not in needed:
            needed.add(position)
            stack.extend(nodes[position].reads)
    order = sorted(needed)
    last_use = {i: position for position in order for i in nodes[position].reads}
    dying: dict[int, list[int]] = {}
    for position in order:
        dying.setdefault(last_use.get(position, position), []).append(position)
    return tuple(Step(position, tuple(dying.get(position, ()))) for position in order)


def _masks(nodes: Sequence[Node], outputs: Iterable[int]) -> tuple[Mask, ...]:
    """Return the series of single instruments that `outputs` need, inner ones first."""
    found: dict[int, Mask] = {}
    stack = [step.node for step in _schedule(nodes, outputs)]
    while stack:
        position = stack.pop()
        node = nodes[position]
        if node.kernel == MASK and position not in found:
            source = node.sources[0]
            found[position] = Mask(position, source, node.parameters[0], _schedule(nodes, [source]))
            stack.extend(step.node for step in found[position].steps)
    return tuple(found[position] for position in sorted(found))


_BOOL, _SINGLE, _DOUBLE = np.dtype(np.bool_), np.dtype(np.float32), np.dtype(np.float64)
_Input = int | Number

_UFUNCS = {
    **{"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Power": "power"},
    **{"Greater": "maximum", "Less": "minimum", "Abs": "absolute", "Log": "log", "Sign": "sign"},
    **{"Gt": "greater", "Ge": "greater_equal", "Lt": "less", "Le": "less_equal", "Eq": "equal", "Ne": "not_equal"},
    **{"And": "logical_and", "Or": "logical_or", "Not": "logical_not"},
}
# What NumPy's ufuncs do to conditions, and so do sums and products of conditions in qlib.
_UFUNCS_OF_CONDITIONS = {
    **{"Add": "logical_or", "Mul": "logical_and", "Greater": "logical_or", "Less": "logical_and"},
}
_MOMENTS = {
    **{"Sum": moments.SUM, "Mean": moments.MEAN, "Var": moments.VAR, "Std": moments.STD},
    **{"Mad": moments.MAD, "Skew": moments.SKEW, "Kurt": moments.KURT},
}
_TRENDS = {"Slope": regression.SLOPE, "Rsquare": regression.RSQUARE, "Resi": regression.RESI}
_COMOVEMENTS = {"Cov": regression.COV, "Corr": regression.CORR}
_EXTREMES = {
    **{"Max": ("extreme", 1.0), "Min": ("extreme", -1.0)},
    **{"IdxMax": ("extreme_position", 1.0), "IdxMin": ("extreme_position", -1.0)},
}
_OTHERS = {"Rank": "rank", "WMA": "weighted_mean", "EMA": "exponential_mean"}


def build_plan(expressions: Iterable[Expression], empty_fields: frozenset[str] = frozenset()) -> Plan:
    """Return the plan that computes all `expressions`; `empty_fields` are those known to be NaN everywhere."""
    lowering = _Lowering()
    outputs = tuple(lowering.position(expression) for expression in expressions)
    return plan_nodes(lowering.nodes, outputs, empty_fields)


class _Lowering:
    """Nodes under construction; equal ones are added once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._positions: dict[Node, int] = {}
        self._lowered: dict[Expression, int] = {}

    def position(self, expression: Expression) -> int:
        """Return the node that computes `expression`, adding what is missing."""
        known = self._lowered.get(expression)
        if known is None:
            known = self._lower(expression)
            self._lowered[expression] = known
        return known

    def _lower(self, expression: Expression) -> int:
        if isinstance(expression, Field):
            return self._add(FIELD, (), (expression.name,), _SINGLE)
        if isinstance(expression, Number):
            raise TypeError("a number is not a series")
        if expression.operator in _UFUNCS:
            return self._elementwise(expression)
        if expression.operator == "If":
            return self._choice(expression)
        if expression.operator == "Mask":
            source = self.position(expression.series[0])
            return self._add(MASK, (source,), expression.parameters, self.nodes[source].dtype)
        if expression.operator in ("Ref", "Delta"):
            return self._shifted(expression)
        return self._rolling(expression)

    def _add(self, kernel: str, inputs: tuple[_Input, ...], parameters: tuple[Any, ...], dtype: np.dtype[Any]) -> int:
        node = Node(kernel, inputs, parameters, dtype)
        position = self._positions.setdefault(node, len(self.nodes))
        if position == len(self.nodes):
            self.nodes.append(node)
        return position

    def _input(self, expression: Expression) -> _Input:
        return expression if isinstance(expression, Number) else self.position(expression)

    def _dtypes(self, inputs: Iterable[_Input]) -> list[np.dtype[Any]]:
        return [self.nodes[i].dtype for i in inputs if not isinstance(i, Number)]

    def _cast(self, source: int, dtype: np.dtype[Any]) -> int:
        return source if self.nodes[source].dtype == dtype else self._add("cast", (source,), (), dtype)

    def _elementwise(self, call: Call) -> int:
        inputs = tuple(map(self._input, call.series))
        if OPERATORS[call.operator].gives_condition:
            return self._add(_UFUNCS[call.operator], inputs, (), _BOOL)
        if call.operator == "Sign":  # qlib rounds the argument to float32
            return self._add("sign", (self._cast(self.position(call.series[0]), _SINGLE),), (), _SINGLE)
        dtypes = self._dtypes(inputs)
        if all(dtype == _BOOL for dtype in dtypes):
            if len(dtypes) == len(inputs) and call.operator == "Abs":
                return self.position(call.series[0])
            if len(dtypes) == len(inputs) and call.operator in _UFUNCS_OF_CONDITIONS:
                return self._add(_UFUNCS_OF_CONDITIONS[call.operator], inputs, (), _BOOL)
            inputs = tuple(i if isinstance(i, Number) else self._cast(i, _DOUBLE) for i in inputs)
            dtypes = [_DOUBLE]
        return self._add(_UFUNCS[call.operator], inputs, (), _DOUBLE if _DOUBLE in dtypes else _SINGLE)

    def _choice(self, call: Call) -> int:
        inputs = tuple(map(self._input, call.series))
        branches = self._dtypes(inputs[1:])
        if branches == [_BOOL, _BOOL]:
            return self._add(CHOICE, inputs, (), _BOOL)
        return self._add(CHOICE, inputs, (), _SINGLE if _SINGLE in branches and _DOUBLE not in branches else _DOUBLE)

    def _shifted(self, call: Call) -> int:
        source = self.position(call.series[0])
        if self.nodes[source].dtype == _BOOL:
            source = self._cast(source, _DOUBLE)
        dtype = self.nodes[source].dtype
        kernel = "first" if call.parameters[0] == 0 else "shift"
        earlier = self._add(kernel, (source,), call.parameters, dtype)
        return earlier if call.operator == "Ref" else self._add("subtract", (source, earlier), (), dtype)

    def _rolling(self, call: Call) -> int:
        operator, window = call.operator, call.parameters[0]
        if operator in _COMOVEMENTS:
            return self._comovement(call, window)
        source = self._cast(self.position(call.series[0]), _DOUBLE)
        if operator in _MOMENTS:
            return self._moment(source, window, _MOMENTS[operator])
        if operator in _TRENDS:
            return self._trend(source, operator, window)
        if operator in _EXTREMES:
            kernel, sign = _EXTREMES[operator]
            return self._add(kernel, (source,), (window, sign), _DOUBLE)
        if operator == "Count":
            present = self._add("equal", (source, source), (), _BOOL)
            return self._moment(self._cast(present, _DOUBLE), window, moments.SUM)
        if operator in ("Quantile", "Med"):
            level = call.parameters[1] if operator == "Quantile" else order.MEDIAN
            return self._add("quantile", (source,), (window, level), _DOUBLE)
        return self._add(_OTHERS[operator], (source,), (window,), _DOUBLE)

    def _trend(self, source: int, operator: str, window: Any) -> int:
        guarded = operator == "Rsquare" and window != 0  # qlib guards windows, but not expanding ones
        spread = self._moment(source, window, moments.STD) if guarded else source
        return self._add("trend", (source, self._carry(source), spread), (window, _TRENDS[operator], guarded), _DOUBLE)

    def _comovement(self, call: Call, window: Any) -> int:
        x, y = (self._cast(self.position(series), _DOUBLE) for series in call.series)
        joint = (self._add("paired", (x, y), (), _DOUBLE), self._add("paired", (y, x), (), _DOUBLE))
        guarded = call.operator == "Corr" and window != 0
        spreads = tuple(self._moment(s, window, moments.STD) for s in (x, y)) if guarded else joint
        inputs = (*joint, *map(self._carry, joint), *spreads)
        return self._add("comovement", inputs, (window, _COMOVEMENTS[call.operator], guarded), _DOUBLE)

    def _moment(self, source: int, window: Any, kind: int) -> int:
        return self._add("moments", (source, self._carry(source)), (window, kind), _DOUBLE)

    def _carry(self, source: int) -> int:
        return self._add("carry", (source,), (), _DOUBLE)

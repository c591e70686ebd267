"""From expressions to nodes: one kernel each, shared where expressions share a part, in the precision that qlib has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from harness.features import kernels, order_kernels
from harness.features.expression import (
    OPERATORS,
    Call,
    Expression,
    Field,
    Number,
    fields_of,
    look_ahead,
    walk,
    windows_of,
)

FIELD, MASK, CHOICE, ALL = "field", "mask", "where", "all"


@dataclass(frozen=True)
class Node:
    """One kernel, the nodes or numbers it reads, and its parameters."""

    kernel: str  # `FIELD`, `MASK`, the name of a kernel, or of a NumPy ufunc
    inputs: tuple[int | Number, ...]  # positions of earlier nodes, or constants
    parameters: tuple[Any, ...]  # window, kind, level, sign, a field's name, …
    # bool, float32 or float64: what qlib's pandas series would have. An operation between float32 series is rounded
    # to float32; every rolling result is float64.
    dtype: np.dtype[np.generic]

    @property
    def sources(self) -> tuple[int, ...]:
        """The nodes among the inputs."""
        return tuple(i for i in self.inputs if not isinstance(i, Number))


# The nodes that are computed at once, by one call of a kernel, and those that nobody needs afterwards.
Steps = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True)
class Beginning:
    """Where series begin: with a field, or as other beginnings say.

    Attributes:
        kind: `FIELD`; `MASK`, as one instrument; `CHOICE`, with the first of some others; `ALL`, with the last of them.
        of: Positions of other beginnings.
        name: The field's name or the instrument's code.
    """

    kind: str
    of: tuple[int, ...] = ()
    name: str = ""


@dataclass(frozen=True, eq=False)
class Program:
    """What some expressions come to, whatever the panel.

    Attributes:
        nodes: Inputs before what reads them.
        outputs: The node of each expression.
        fields: The names of what is read, sorted.
        back, ahead: How many times before and after its own a value reads; `back` is None when all from the first.
        beginnings: The different ones of all nodes, others before what reads them.
        begins_as: Which of them the series of each node begin as.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    fields: tuple[str, ...]
    back: int | None
    ahead: int
    beginnings: tuple[Beginning, ...]
    begins_as: tuple[int, ...]

    def steps(self, outputs: tuple[int, ...]) -> Steps:
        """Return what computes some of the outputs, see `schedule`."""
        return self._all_steps if outputs == self.outputs else schedule(self.nodes, outputs)

    @cached_property
    def _all_steps(self) -> Steps:
        return schedule(self.nodes, self.outputs)


@lru_cache(maxsize=32)
def program_of(expressions: tuple[Expression, ...]) -> Program:
    """Return what computes some expressions; asked for again, it is the same."""
    nodes, outputs = lower(expressions)
    reads = tuple(sorted(fields_of(*expressions)))
    ahead = max(map(look_ahead, expressions), default=0)
    return Program(nodes, outputs, reads, windows_of(expressions), ahead, *_beginnings(nodes))


def lower(expressions: Iterable[Expression]) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    """Return the nodes that compute `expressions`, inputs before what reads them, and the node of each expression."""
    lowering, wanted = _Lowering(), tuple(expressions)
    lowered: dict[Expression, int | Number] = {}
    for part in walk(*wanted):
        lowered[part] = part if isinstance(part, Number) else lowering.add(part, lowered)
    outputs = (lowered[expression] for expression in wanted)
    return tuple(lowering.nodes), tuple(node for node in outputs if not isinstance(node, Number))


def _beginnings(nodes: Sequence[Node]) -> tuple[tuple[Beginning, ...], tuple[int, ...]]:
    """Return the different beginnings of nodes, and which is each node's; windows begin to fill there.

    What is computed begins when everything that it reads has begun, so that a series knows nothing of fields that it
    does not read; a choice begins with the first of its branches (what has not begun is false as its condition), of
    which a constant is there once the condition is. A shift does not move the beginning: its first values are missing,
    as in qlib.
    """
    places, found, begins_as = dict[Beginning, int](), list[Beginning](), list[int]()
    for node in nodes:
        kind, name, reads = ALL, "", node.sources
        if node.kernel in (FIELD, MASK):
            kind, name = node.kernel, node.parameters[0]
        elif node.kernel == CHOICE:
            kind, reads = CHOICE, tuple(reads[0] if isinstance(i, Number) else i for i in node.inputs[1:])
        of = {begins_as[i] for i in reads}
        if kind == ALL:
            of = {part for one in of for part in (found[one].of if found[one].kind == ALL else (one,))}
        if len(of) == 1 and kind != MASK:
            begins_as.append(of.pop())
            continue
        made = Beginning(kind, tuple(sorted(of)), name)
        if made not in places:
            places[made] = len(found)
            found.append(made)
        begins_as.append(places[made])
    return tuple(found), tuple(begins_as)


def schedule(nodes: Sequence[Node], outputs: Iterable[int]) -> Steps:
    """Return the nodes that `outputs` need, in order; together those that share a pass over a series.

    A mask needs nothing: its source is another instrument's.
    """
    reads = [() if node.kernel == MASK else node.sources for node in nodes]
    needed: set[int] = set()
    stack = list(outputs)
    while stack:
        position = stack.pop()
        if position not in needed:
            needed.add(position)
            stack.extend(reads[position])
    alike: dict[object, list[int]] = {}
    for position in sorted(needed):
        node = nodes[position]
        differs = _SHARED.get(node.kernel)
        what = position if differs is None else (node.kernel, node.inputs, node.parameters[differs:])
        alike.setdefault(what, []).append(position)
    steps = [tuple(sorted(group, key=lambda one: nodes[one].parameters)) for group in alike.values()]
    last_use = {one: at for at, group in enumerate(steps) for one in group}
    last_use |= {i: at for at, group in enumerate(steps) for one in group for i in reads[one]}
    dying: dict[int, list[int]] = {}
    for one, at in last_use.items():
        dying.setdefault(at, []).append(one)
    return tuple((group, tuple(dying.get(at, ()))) for at, group in enumerate(steps))


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
    **{"Sum": kernels.SUM, "Mean": kernels.MEAN, "Var": kernels.VAR, "Std": kernels.STD},
    **{"Mad": kernels.MAD, "Skew": kernels.SKEW, "Kurt": kernels.KURT},
}
_TRENDS = {"Slope": kernels.SLOPE, "Rsquare": kernels.RSQUARE, "Resi": kernels.RESI}
_COMOVEMENTS = {"Cov": kernels.COV, "Corr": kernels.CORR}
# Kernel of which one call computes several nodes of the same inputs → the first parameters, in which they may differ.
_SHARED = {"moments": 2, "occurrences": 2, "trend": 2, "comovement": 2, "quantile": 2}
_SHARED |= {"extreme": 1, "extreme_position": 1, "rank": 1}
_EVERYTHING = 1 << 32  # a window longer than any calendar
# Operator → kernel of one series and its parameters after the window.
_PLAIN: dict[str, tuple[str, tuple[float, ...]]] = {
    **{"Max": ("extreme", (1.0,)), "Min": ("extreme", (-1.0,))},
    **{"IdxMax": ("extreme_position", (1.0,)), "IdxMin": ("extreme_position", (-1.0,))},
    **{"Quantile": ("quantile", ()), "Med": ("quantile", (order_kernels.MEDIAN,)), "Rank": ("rank", ())},
    "WMA": ("weighted_mean", ()),
}


class _Lowering:
    """Nodes under construction; equal ones are added once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._positions: dict[Node, int] = {}

    def add(self, call: Field | Call, lowered: Mapping[Expression, int | Number]) -> int:
        if isinstance(call, Field):
            return self._add(FIELD, (), (call.name,), _SINGLE)
        inputs = tuple(lowered[series] for series in call.series)
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
        if operator == "EMA" and given == 0:
            return self._add("exponential_mean_expanding", series)
        if operator == "EMA":
            return self._add("exponential_mean", series, (given if given < 1 else 2.0 / (given + 1.0),))
        window = int(min(given or _EVERYTHING, _EVERYTHING))
        if operator in _COMOVEMENTS:
            joint = (self._add("paired", series), self._add("paired", series[::-1]))
            found = self._add("comovement", (*joint, *map(self._carry, joint)), (window, _COMOVEMENTS[operator]))
        elif operator in _TRENDS:
            found = self._add("trend", (*series, self._carry(*series)), (window, _TRENDS[operator]))
        elif operator == "Count":
            found = self._moment(self._add("equal", series * 2, (), _BOOL), window, kernels.SUM)
        elif operator in _MOMENTS:
            found = self._moment(sources[0], window, _MOMENTS[operator])
        else:
            kernel, more = _PLAIN[operator]
            found = self._add(kernel, series, (window, *map(float, call.parameters[1:]), *more))
        if operator in ("Rsquare", "Corr") and given != 0:  # qlib guards windows, but not expanding ones
            for one in series:
                found = self._add("guarded", (found, self._moment(one, window, kernels.STD)))
        return found

    def _moment(self, source: int, window: int, kind: int) -> int:
        if self.nodes[source].dtype == _BOOL and kind in (kernels.SUM, kernels.MEAN):
            return self._add("occurrences", (source,), (window, kind))
        source = self._cast(source, _DOUBLE)
        return self._add("moments", (source, self._carry(source)), (window, kind))

    def _carry(self, source: int) -> int:
        return self._add("carry", (source,))

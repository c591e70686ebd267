"""From the operators of the language to few kernels, over one graph for all expressions.

``Corr`` needs the standard deviations that ``Std`` would give, ``Count`` is a sum, every rolling operator reads
float64. Equal subexpressions become one node, across features.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.features.graph import CHOICE, FIELD, MASK, Node, Plan, plan_nodes
from harness.features.kernels import moments, order, regression
from harness.features.nodes import Call, Expression, Field, Number
from harness.features.operators import OPERATORS

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

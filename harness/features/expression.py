"""Expressions: parsing them, and which times they read, known before any data is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Parameter(Enum):
    """What an operator's trailing argument means."""

    WINDOW = "a window: a whole number of periods, or 0 for everything since the first time"
    DECAY = "a span of at least 1, a smoothing factor between 0 and 1, or 0 for an expanding mean"
    SHIFT = "a shift: a whole number of periods, negative into the future, or 0 for the first time"
    LEVEL = "a quantile level between 0 and 1"
    INSTRUMENT = "an instrument's code"


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        series: How many series it takes, before its parameters, the trailing arguments.
        gives_condition: Its result is true or false, never missing.
        needs_condition: It takes only conditions.
        allows_numbers: A number may stand in place of some, but not all, of its series.
        smallest_window: The smallest window except 0.
    """

    name: str
    series: int
    parameters: tuple[Parameter, ...] = ()
    gives_condition: bool = False
    needs_condition: bool = False
    allows_numbers: bool = False
    smallest_window: int = 1

    @property
    def arity(self) -> int:
        """The number of arguments."""
        return self.series + len(self.parameters)

    @property
    def usage(self) -> str:
        """The call as a user writes it, such as ``Mean(series, window)``."""
        series = ["series"] if self.series == 1 else [f"series{i + 1}" for i in range(self.series)]
        return f"{self.name}({', '.join(series + [p.name.lower() for p in self.parameters])})"


_WINDOW = (Parameter.WINDOW,)
_OVER_WINDOWS = ("Mean", "Std", "Var", "Sum", "Max", "Min", "IdxMax", "IdxMin", "Med", "Mad", "Rank", "Count", "Slope")
_OPERATORS = (
    *(Operator(name, 1, (Parameter.SHIFT,)) for name in ("Ref", "Delta")),
    *(Operator(name, 1, _WINDOW) for name in (*_OVER_WINDOWS, "Rsquare", "Resi", "WMA")),
    Operator("Skew", 1, _WINDOW, smallest_window=3),
    Operator("Kurt", 1, _WINDOW, smallest_window=4),
    Operator("Quantile", 1, (Parameter.WINDOW, Parameter.LEVEL)),
    *(Operator(name, 2, _WINDOW) for name in ("Corr", "Cov")),
    Operator("EMA", 1, (Parameter.DECAY,)),
    *(Operator(name, 1) for name in ("Abs", "Sign", "Log")),
    *(Operator(name, 2, allows_numbers=True) for name in ("Add", "Sub", "Mul", "Div", "Power", "Greater", "Less")),
    *(Operator(name, 2, gives_condition=True, allows_numbers=True) for name in ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")),
    *(Operator(name, n, gives_condition=True, needs_condition=True) for name, n in (("And", 2), ("Or", 2), ("Not", 1))),
    Operator("If", 3, allows_numbers=True),
    Operator("Mask", 1, (Parameter.INSTRUMENT,)),
)
OPERATORS: Mapping[str, Operator] = MappingProxyType({operator.name: operator for operator in _OPERATORS})
INFIX: Mapping[str, str] = MappingProxyType(
    {
        **{"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "**": "Power", "&": "And", "|": "Or"},
        **{">": "Gt", ">=": "Ge", "<": "Lt", "<=": "Le", "==": "Eq", "!=": "Ne"},
    }
)

_SYMBOLS = {name: symbol for symbol, name in INFIX.items()}


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


@dataclass(frozen=True)
class Field:
    """A raw field of the panel, written ``$close``."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True)
class Number:
    """A constant; ``5`` and ``5.0`` are the same."""

    value: float

    def __str__(self) -> str:
        return _plain(self.value)


@dataclass(frozen=True)
class Call:
    """An operator applied to series.

    Attributes:
        operator: A key of `OPERATORS`; infix signs are stored under their names (``+`` is ``Add``).
        series: The input series, in order; a `Number` where the operator allows one.
        parameters: Windows, shifts, levels or an instrument's code, in order.
    """

    operator: str
    series: tuple[Expression, ...]
    parameters: tuple[float | str, ...] = ()

    def __str__(self) -> str:
        """Return canonical text that parses back to an equal expression."""
        if self.operator in _SYMBOLS:
            left, right = self.series
            return f"({left}{_SYMBOLS[self.operator]}{right})"
        parameters = [f'"{p}"' if isinstance(p, str) else _plain(p) for p in self.parameters]
        return f"{self.operator}({', '.join([*map(str, self.series), *parameters])})"


Expression = Field | Number | Call


def walk(*expressions: Expression) -> Iterator[Expression]:
    """Yield every different part of the expressions once, inputs before what reads them; however deep they are."""
    seen: set[Expression] = set()
    stack = [(expression, False) for expression in reversed(expressions)]
    while stack:
        part, has_inputs = stack.pop()
        if has_inputs:
            yield part
        elif part not in seen:
            seen.add(part)
            stack.append((part, True))
            if isinstance(part, Call):
                stack += [(series, False) for series in reversed(part.series)]


def is_condition(expression: Expression) -> bool:
    """Return True when every value is true or false; NumPy's rules for booleans decide, as they do in qlib."""
    if not isinstance(expression, Call):
        return False
    operator, series = expression.operator, expression.series
    if OPERATORS[operator].gives_condition:
        return True
    if operator not in ("Add", "Mul", "Greater", "Less", "Abs", "Mask", "If"):
        return False
    return all(map(is_condition, series[1:] if operator == "If" else series))


def fields_of(*expressions: Expression) -> frozenset[str]:
    """Return the names of all raw fields that the expressions read."""
    return frozenset(part.name for part in walk(*expressions) if isinstance(part, Field))


def look_ahead(expression: Expression) -> int:
    """Return how many times after t a value at t reads; 0 when it never reads the future.

    Exact, not an upper bound: ``Ref(Ref($close, -5), 5)`` reads time t only.
    """
    return int(max(0.0, _reach(expression)[1]))


def look_back(expression: Expression) -> int | None:
    """Return how many times before t a value at t reads; None when it reads back to the first time.

    Expanding windows (0), ``EMA`` and a reference to the first time have no bound. Where a series begins (when its
    windows begin to fill) may lie further back than a bounded value reads.
    """
    back = max(0.0, -_reach(expression)[0])
    return None if math.isinf(back) else int(back)


def _reach(expression: Expression) -> tuple[float, float]:
    """Return the oldest and the newest time that a value at time 0 reads, or (inf, −inf) when it reads none."""
    if not isinstance(expression, Call):
        return (0.0, 0.0) if isinstance(expression, Field) else (math.inf, -math.inf)
    oldest, newest = zip(*map(_reach, expression.series), strict=True)
    kinds, back, ahead = OPERATORS[expression.operator].parameters, 0.0, 0.0
    if kinds and kinds[0] is not Parameter.INSTRUMENT:
        by = float(expression.parameters[0])
        back, ahead = (by, -by) if kinds[0] is Parameter.SHIFT else (by - 1, 0.0)
        if kinds[0] is Parameter.DECAY or by == 0:
            back, ahead = math.inf, 0.0
        if expression.operator == "Delta":  # the series itself too
            back, ahead = max(back, 0.0), max(ahead, 0.0)
    return min(oldest) - back, max(newest) + ahead

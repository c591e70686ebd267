"""Expressions as immutable values: equal text means equal objects, whatever the spelling."""

from __future__ import annotations

from dataclasses import dataclass

from harness.features.operators import INFIX, OPERATORS

_SYMBOLS = {name: symbol for symbol, name in INFIX.items()}
_LARGEST_PLAIN = 1e15


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

    Attributes
    ----------
    operator
        A key of `OPERATORS`; infix signs are stored under their names (``+`` is ``Add``).
    series
        The input series, in order; a `Number` where the operator allows one.
    parameters
        Windows, shifts, levels or an instrument's code, in order.
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


def is_condition(expression: Expression) -> bool:
    """Return True when every value is true or false; NumPy's rules for booleans decide, as they do in qlib."""
    if not isinstance(expression, Call):
        return False
    if OPERATORS[expression.operator].gives_condition:
        return True
    if expression.operator == "If":
        return all(map(is_condition, expression.series[1:]))
    if expression.operator in ("Add", "Mul", "Greater", "Less", "Abs", "Mask"):
        return all(map(is_condition, expression.series))
    return False


def fields_of(expression: Expression) -> frozenset[str]:
    """Return the names of all raw fields that an expression reads."""
    if isinstance(expression, Field):
        return frozenset({expression.name})
    if isinstance(expression, Number):
        return frozenset()
    return frozenset().union(*map(fields_of, expression.series))


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < _LARGEST_PLAIN else repr(value)

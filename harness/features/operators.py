"""The operators of the expression language, as data: what each takes and which times it reads.

The language and its semantics are those of qlib's ``qlib.data.ops``.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class Reads(Enum):
    """Which times of its inputs a value at time t reads."""

    NOW = "t"
    WINDOW = "t − window + 1 … t"
    PAST = "everything up to t"
    SHIFTED = "t − shift"
    BOTH = "t and t − shift"


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes
    ----------
    name
        As written in an expression.
    series
        How many series it takes, before its parameters.
    parameters
        The meaning of each trailing argument.
    reads
        Which times it reads.
    gives_condition
        Its result is true or false, never missing.
    needs_condition
        It takes only conditions.
    allows_numbers
        A number may stand in place of some, but not all, of its series.
    smallest_window
        The smallest window except 0.
    """

    name: str
    series: int
    parameters: tuple[Parameter, ...] = ()
    reads: Reads = Reads.NOW
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


def _table() -> Mapping[str, Operator]:
    window, shift = (Parameter.WINDOW,), (Parameter.SHIFT,)
    over = ("Mean", "Std", "Var", "Sum", "Max", "Min", "IdxMax", "IdxMin", "Med", "Mad", "Rank", "Count", "Slope")
    rows = [
        Operator("Ref", 1, shift, Reads.SHIFTED),
        Operator("Delta", 1, shift, Reads.BOTH),
        *(Operator(name, 1, window, Reads.WINDOW) for name in (*over, "Rsquare", "Resi", "WMA")),
        Operator("Skew", 1, window, Reads.WINDOW, smallest_window=3),
        Operator("Kurt", 1, window, Reads.WINDOW, smallest_window=4),
        Operator("Quantile", 1, (Parameter.WINDOW, Parameter.LEVEL), Reads.WINDOW),
        *(Operator(name, 2, window, Reads.WINDOW) for name in ("Corr", "Cov")),
        Operator("EMA", 1, (Parameter.DECAY,), Reads.PAST),
        *(Operator(name, 1) for name in ("Abs", "Sign", "Log")),
        *(Operator(name, 2, allows_numbers=True) for name in ("Add", "Sub", "Mul", "Div", "Power", "Greater", "Less")),
        *(
            Operator(name, 2, gives_condition=True, allows_numbers=True)
            for name in ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")
        ),
        *(Operator(name, 2, gives_condition=True, needs_condition=True) for name in ("And", "Or")),
        Operator("Not", 1, gives_condition=True, needs_condition=True),
        Operator("If", 3, allows_numbers=True),
        Operator("Mask", 1, (Parameter.INSTRUMENT,)),
    ]
    return MappingProxyType({row.name: row for row in rows})


OPERATORS = _table()
INFIX: Mapping[str, str] = MappingProxyType(
    {
        **{"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "**": "Power", "&": "And", "|": "Or"},
        **{">": "Gt", ">=": "Ge", "<": "Lt", "<=": "Le", "==": "Eq", "!=": "Ne"},
    }
)

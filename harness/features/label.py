"""The label: a forward return over any horizon, as an expression whose look-ahead is derived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from harness.errors import ConfigError
from harness.errors.limits import check_limits
from harness.features.expression import look_ahead
from harness.features.parser import parse


@dataclass(frozen=True)
class ForwardReturn:
    """The return from the next time's price to the price `horizon` times later.

    A decision at the close of t is carried out at the close of t + 1, so that a horizon of 20 is known 21 times later:
    ``Ref($close, -21)/Ref($close, -1) - 1``, qlib's label.

    Attributes:
        horizon: For how many periods (trading days of daily data) the position is held. With an own `expression` it may
            be None, or must agree with the expression's look-ahead.
        price: The field that is traded at, such as ``$close`` or ``$open``; not read when `expression` is given.
        expression: Another label, in the language of features; it must read the future.

    Raises:
        ConfigError: When the horizon is missing or below 1, disagrees with the expression, or the expression does not
            look ahead.
    """

    horizon: Annotated[int, Ge(1), Le(100_000)] | None = 20
    price: str = "$close"
    expression: str | None = None

    def __post_init__(self) -> None:
        if self.horizon is None and self.expression is None:
            raise ConfigError("A label needs a horizon or an expression.", where="label.horizon")
        check_limits(self, "label")
        ahead = self.look_ahead
        if ahead < 1:
            what, got = "The label does not look ahead, so there is nothing to predict.", self.expression_text
            expected = "an expression that reads a later time than its own"
            hint = "a negative shift reads the future: `Ref($close, -1)`"
            raise ConfigError(what, where="label.expression", got=got, expected=expected, hint=hint)
        if self.horizon is not None and ahead != self.horizon + 1:
            what, expected = (
                "The label's horizon and its expression disagree.",
                f"horizon: {ahead - 1}, or horizon: null",
            )
            got = f"horizon {self.horizon}, but `{self.expression_text}` looks {ahead} ahead (horizon {ahead - 1})"
            raise ConfigError(what, where="label", got=got, expected=expected)

    @property
    def expression_text(self) -> str:
        """The label as an expression."""
        if self.expression is not None:
            return self.expression
        entry, leave = f"Ref({self.price}, -1)", f"Ref({self.price}, -{(self.horizon or 0) + 1})"
        return f"{leave}/{entry} - 1"

    @property
    def look_ahead(self) -> int:
        """How many periods after its own time a label is known; derived from the expression, never configured."""
        return look_ahead(parse(self.expression_text))

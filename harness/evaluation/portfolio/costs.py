"""What an order costs beyond the rates of the exchange: a fee, a share of its value, or its impact on the price."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from annotated_types import Ge, Lt

from harness.errors.limits import NonNegative, check_limits

Rate = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class PricedOrder:
    """An order as its costs follow from it; money in the currency of the prices.

    Attributes:
        value: Shares times the price of the order.
        is_purchase: Or else a sale.
        daily_value: What was traded of the instrument per period, the mean over the 20 periods up to the signal that
            have a volume; NaN when none has.
        volatility: Standard deviation of its logarithmic returns from price to price in these periods; NaN with fewer
            than two.
    """

    value: float
    is_purchase: bool
    daily_value: float
    volatility: float


@runtime_checkable
class CostModel(Protocol):
    """A cost of orders; an order of a larger value never costs less."""

    @property
    def needs_volume(self) -> bool:
        """Whether it reads `PricedOrder.daily_value`, for which the panel needs volumes. A class attribute will do."""

    def cost(self, order: PricedOrder) -> float:
        """Return the cost in money, ≥ 0."""


@dataclass(frozen=True)
class FixedCost:
    """The same for every order.

    Attributes:
        amount: In money.
    """

    amount: NonNegative
    needs_volume: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_limits(self, "evaluation.portfolio.costs")

    def cost(self, order: PricedOrder) -> float:
        """Return the amount."""
        return self.amount


@dataclass(frozen=True)
class ProportionalCost:
    """A share of the value of an order: a tax, a fee, half a spread.

    Attributes:
        purchase, sale: Share of the value.
        least: In money, of an order.
    """

    purchase: Rate = 0.0
    sale: Rate = 0.0
    least: NonNegative = 0.0
    needs_volume: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_limits(self, "evaluation.portfolio.costs")

    def cost(self, order: PricedOrder) -> float:
        """Return the share of the value, or the least cost."""
        return max(order.value * (self.purchase if order.is_purchase else self.sale), self.least)


@dataclass(frozen=True)
class SquareRootImpact:
    """The impact of an order on its price: coefficient · volatility · √(value / daily value), times the value.

    Almgren, Thum, Hauptmann and Li, "Direct Estimation of Equity Market Impact", Risk 18 (2005); Tóth et al.,
    "Anomalous Price Impact and the Critical Nature of Liquidity in Financial Markets", Physical Review X 1 (2011).
    Where volume or volatility are not known there is no impact, and a note counts the orders.

    Attributes:
        coefficient: Of order one in the literature.
    """

    coefficient: NonNegative = 1.0
    needs_volume: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_limits(self, "evaluation.portfolio.costs")

    def cost(self, order: PricedOrder) -> float:
        """Return the impact in money; 0 where volume or volatility are not known."""
        if not order.daily_value > 0 or math.isnan(order.volatility):
            return 0.0
        return self.coefficient * order.volatility * math.sqrt(order.value / order.daily_value) * order.value

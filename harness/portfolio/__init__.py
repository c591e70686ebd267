"""What a portfolio that follows the predictions would have earned: strategy, market, backtest, risk."""

from harness.portfolio.backtest import PortfolioResult, backtest
from harness.portfolio.change import check_change
from harness.portfolio.market import Market, market_of
from harness.portfolio.risk import Risk, risk_analysis
from harness.portfolio.topk_dropout import Rules, TopkDropout

__all__ = [
    "Market",
    "PortfolioResult",
    "Risk",
    "Rules",
    "TopkDropout",
    "backtest",
    "check_change",
    "market_of",
    "risk_analysis",
]

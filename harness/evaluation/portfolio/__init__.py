"""What a portfolio that follows the predictions would have earned: strategy, market, backtest, risk."""

from harness.evaluation.portfolio.backtest import PortfolioResult, Risk, backtest, risk_analysis
from harness.evaluation.portfolio.market import Market, check_change, market_of
from harness.evaluation.portfolio.topk_dropout import Rules, TopkDropout

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

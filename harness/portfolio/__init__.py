"""What a portfolio that follows the predictions would have earned: strategy, market, backtest, risk."""

from harness.portfolio.backtest import PortfolioResult, backtest
from harness.portfolio.risk import Risk, risk_analysis
from harness.portfolio.topk_dropout import TopkDropout

__all__ = ["PortfolioResult", "Risk", "TopkDropout", "backtest", "risk_analysis"]

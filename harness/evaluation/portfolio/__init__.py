"""What a portfolio that follows the predictions would have earned: strategy, market, backtest, risk."""

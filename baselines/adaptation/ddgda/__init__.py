"""DDG-DA: predict the next period's distribution shift, and weight past samples to suit it."""

from baselines.adaptation.ddgda.adaptation import DDGDA

__all__ = ["DDGDA"]

"""DDG-DA: predict the next period's distribution shift, and weight past samples to suit it."""

"""How sure a number is: intervals, paired tests, confidence sets, deflation, stability.

Pure functions of (S,) float64 series, one value per time. Undefined values (NaN) are dropped, from both sides of a
pair, and counted; the rest is treated as consecutive. An infinite value, or series of different lengths, is a
`DataError`. ``look_ahead`` is that of the label behind a series, 1 when neighbours share nothing; one below 1 is a
`ConfigError`, as is an unknown statistic or method. ``bootstrap`` says how to resample; the default has seed 0.

Labels that overlap make daily series autocorrelated, and the usual corrections (Newey–West with normal critical values,
percentile intervals of a block bootstrap) then reject two equal signals in 10–30 % of all cases at a nominal 5 %. The
tests here use fixed-smoothing asymptotics instead, see `harness.evaluation.significance.hac`.
"""

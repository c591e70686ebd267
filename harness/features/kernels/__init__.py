"""Compiled kernels over (rows, times) arrays: one row per instrument, times contiguous.

Conventions shared by all of them:

- float64 in, float64 out; before ``starts[row]``, the instrument's first time, a row is not read and its output is NaN.
- A window of w covers the w times up to t, fewer near the start (qlib: ``min_periods=1``); 0 is passed as the number of
  times, an expanding window. Values that are not finite are missing, as pandas has it in rolling windows.
- A result is computed from the values of its own window alone, in a fixed order. Nothing is carried from window to
  window, so neither a missing nor a huge value long ago can leave a trace, and equal windows give equal bits.
- The loop over times is inside the loop over the window, where neighbouring results can be computed at once.
- Moments are taken about a reference, the newest of the window's own values. No value lies further than √n standard
  deviations from the mean of its n, so that one pass loses at most a factor n of precision, whatever the level.

Compiled code is cached per file, so that each file holds everything that its kernels call.
"""

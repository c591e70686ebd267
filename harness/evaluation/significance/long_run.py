"""The long-run variance of an autocorrelated series by a few of its slowest cosines.

The equal-weighted cosine estimator (Müller 2007, "A theory of robust long-run variance estimation"; Lazarus, Lewis,
Stock & Watson 2018, "HAR inference: recommendations for practice") averages the squares of ν projections

    Λ_j = √(2/T) Σ_t x_t cos(πj(t + ½)/T),  j = 1 … ν,

of a series on its slowest movements. Each Λ_j² is nearly an independent χ²₁ times the long-run variance, so the t-value
of the mean follows Student's t with ν degrees of freedom: few projections cost power, not honesty. Too many reach into
faster movements, where the spectrum of a persistent series is lower, and the test rejects too often. With
c = −f″(0)/2f(0) the curvature of the spectrum at zero, the variance is too small by the share π²ν²c/(3T²). ν is the
largest number that keeps this share within `BIAS`, and never more than the 0.4·T^⅔ of Lazarus et al., which alone suits
series of little persistence. c comes from the data, through the flat-top window of Politis & White (2004), and from
the overlap: sums over L times have c = (L² − 1)/12.

Measured size at a nominal 5 % over 1,500 to 3,000 Gaussian series of T = 860 | 240 (standard error 0.4 to 0.6 points):

    =====================================  ===========  ===========  ==========================
    method                                 AR(1), 0.9   MA(20) sums  MA(20) sums plus noise
    =====================================  ===========  ===========  ==========================
    Newey–West, 4(T/100)^(2/9) lags, N     .296 | .407  .291 | .373  .255 | .345
    Newey–West, 21 lags, N                 .151 | .189  .123 | .147  .119 | .152
    Newey–West, 1.3√T lags, fixed-b        .089 | .138  .077 | .108  .079 | .110
    cosines, ν = 0.4·T^⅔                   .101 | .141  .081 | .109  .083 | .111
    cosines, c from a fitted AR(1)         .053 | .067  .054 | .058  .083 | .110
    cosines, c from the flat-top window    .062 | .073  .056 | .049  .062 | .063
    the same, at least that of 21 times    .061 | .062  .062 | .063  .053 | .053
    =====================================  ===========  ===========  ==========================

On short ranges, that hold so many labels of 21 times side by side (1,500 series each, standard error 0.6 points), and
what reading the same t-value against 1.96 would reject:

    ====================  ============  ============  ============  ============
    labels                5, ν = 2      10, ν = 4     20, ν = 8     50, ν = 21
    ====================  ============  ============  ============  ============
    MA(20) sums           .064 | .199   .042 | .125   .043 | .089   .051 | .077
    MA(20) sums + noise   .058 | .202   .053 | .133   .045 | .083   .052 | .071
    ICs of noise          .059 | .205   .044 | .132   .058 | .099   .055 | .068
    AR(1), 0.97           .121 | .356   .125 | .252   .086 | .176   .065 | .108
    ====================  ============  ============  ============  ============

The last one depends on itself for longer than the label does, which a short series cannot show; ICs of markets without
signal are no such series, for returns that nobody foresees make them depend on each other through the overlap alone.

The fitted AR(1) sees either five cosines (of pure sums) or all of them (sums plus noise), and pays in power or in size.
"""

from __future__ import annotations

import numpy as np

from harness.evaluation.significance.defined import Doubles

BIAS = 0.05
FEWEST, MOST = 2, 48  # beyond 48 degrees of freedom the critical value falls by less than 3 %
_QUIET_LAGS = 5


def long_run_variance(series: Doubles, degrees: int) -> float:
    """Return Σ_j Λ_j² / ν of a (T,) series: T times the variance of its mean."""
    from scipy.fft import dct  # not needed to import the harness

    projections = dct(series - series.mean(), type=2, norm="ortho")[1 : degrees + 1]
    return float(np.square(projections).mean())


def cosine_basis(count: int, degrees: int) -> Doubles:
    """Return (T, ν) float64, the orthonormal cosines j = 1 … ν, each orthogonal to a constant."""
    angles = np.pi / count * np.outer(np.arange(count) + 0.5, np.arange(1, degrees + 1))
    basis: Doubles = np.sqrt(2.0 / count) * np.cos(angles)
    return basis


def cosine_degrees(series: Doubles, look_ahead: int) -> int:
    """Return ν, the number of cosines for a (T,) series that varies, of labels that overlap by `look_ahead`."""
    curvature = max(abs(spectral_curvature(series)), (look_ahead**2 - 1) / 12)
    unbiased = np.sqrt(3.0 * BIAS / curvature) * series.size / np.pi if curvature > 0 else np.inf
    return int(max(FEWEST, min(unbiased, 0.4 * series.size ** (2 / 3), MOST)))


def spectral_curvature(series: Doubles) -> float:
    """Return c = Σ_{k≥1} k²ρ_k / (1 + 2 Σ_{k≥1} ρ_k) of a (T,) series under a flat-top window; ∞ when undetermined.

    The window is 1 up to the last lag before five insignificant autocorrelations, and falls to 0 at twice that lag.
    """
    count = series.size
    highest = min(int(3 * count**0.5), count - 1)
    deviations = series - series.mean()
    padded = 1 << (count + highest).bit_length()  # no product wraps around
    lagged = np.fft.irfft(np.square(np.abs(np.fft.rfft(deviations, padded))), padded)[: highest + 1]
    correlations = lagged / lagged[0]
    span = min(2 * max(_last_significant(correlations, count), 1), highest)
    lags = np.arange(1, span + 1)
    window = np.minimum(1.0, 2.0 * (1.0 - lags / span))
    level = 1.0 + 2.0 * float(window @ correlations[1 : span + 1])
    if level <= 0.0:
        return float("inf")
    return float((window * lags**2) @ correlations[1 : span + 1]) / level


def _last_significant(correlations: Doubles, count: int) -> int:
    quiet = np.abs(correlations[1:]) < 2.0 * np.sqrt(np.log10(count) / count)
    runs = np.convolve(quiet, np.ones(_QUIET_LAGS), mode="valid") == _QUIET_LAGS
    return int(runs.argmax()) if runs.any() else correlations.size - 1

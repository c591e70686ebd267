"""Tests of one series against another of the same times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.evaluation.significance.bootstrap import Bootstrap, Interval, Question, bootstrap_intervals
from harness.evaluation.significance.defined import Doubles, check_look_ahead, defined_rows
from harness.evaluation.significance.hac import HacTest, Method, check_options, hac_test, mean_test
from harness.evaluation.significance.statistic import Statistic, smooth_difference


@dataclass(frozen=True)
class PairedDifference:
    """A difference to a reference, tested in two ways that should agree.

    Attributes
    ----------
    hac
        Diebold–Mariano with the cosine estimator; for the IR, its linearisation.
    bootstrap
        The same t-value against its paired bootstrap distribution, with the interval.
    """

    hac: HacTest
    bootstrap: Interval

    @property
    def estimate(self) -> float:
        """Statistic of the series minus that of the reference."""
        return self.bootstrap.estimate


def diebold_mariano(
    series: Doubles, reference: Doubles, *, look_ahead: int = 1, method: Method = "cosine", lags: int | None = None
) -> HacTest:
    """Test whether two series of the same times have equal means (Diebold & Mariano 1995).

    ``cosine`` uses fixed-smoothing critical values, as Coroneo & Iacone (2020, "Comparing predictive accuracy in small
    samples using fixed-smoothing asymptotics") advise; ``harvey`` is the classical small-sample correction of Harvey,
    Leybourne & Newbold (1997), which under long overlaps still rejects too often.

    Parameters
    ----------
    series, reference
        (S,) values; a time at which either is NaN is dropped.
    look_ahead, method, lags
        As in `harness.evaluation.significance.hac_mean`.

    Raises
    ------
    ConfigError
        When the method or a number is impossible.
    DataError
        When lengths differ or a value is infinite.
    """
    check_options(method, lags, look_ahead)
    left, right = defined_rows("diebold_mariano", series, reference)
    return mean_test(
        left - right,
        series.size - left.size,
        look_ahead=look_ahead,
        method=method,
        lags=lags,
        magnitude=float(np.abs((left, right)).max(initial=0.0)),
    )


def paired_difference(
    series: Doubles,
    reference: Doubles,
    statistic: Statistic = "mean",
    *,
    bootstrap: Bootstrap | None = None,
    look_ahead: int = 1,
) -> PairedDifference:
    """Test a difference to a reference, day by day: what moves both alike cancels.

    Parameters
    ----------
    series, reference
        (S,) values; a time at which either is NaN is dropped.
    statistic
        ``mean``, or ``ir``: difference of the two ratios.
    bootstrap
        How to resample; both series at the same times. The default has seed 0.
    look_ahead
        Of the label behind the series, 1 when neighbours share nothing.

    Returns
    -------
    PairedDifference
        Series that differ by a constant have it as difference, with standard error 0 and no p-value; those that differ
        at a few times only, or whose resamples do not vary, have neither interval nor p-value.

    Raises
    ------
    ConfigError
        When the statistic is unknown or the look-ahead is below one.
    DataError
        When lengths differ or a value is infinite.
    """
    asked = paired_question(series, reference, statistic, look_ahead=look_ahead)
    (found,) = paired_differences([asked], bootstrap or Bootstrap())
    return found


def paired_question(
    series: Doubles, reference: Doubles, statistic: Statistic = "mean", *, look_ahead: int = 1
) -> Question:
    """Return what `paired_differences` answers; parameters and errors as those of `paired_difference`."""
    check_look_ahead(look_ahead, "paired_difference.look_ahead")
    left, right = defined_rows("paired_difference", series, reference)
    return Question(smooth_difference(left, right, statistic), series.size - left.size, look_ahead)


def paired_differences(questions: Sequence[Question], bootstrap: Bootstrap) -> tuple[PairedDifference, ...]:
    """Return the test of each question; those of equally many times are resampled together."""
    found = bootstrap_intervals(questions, bootstrap)
    return tuple(PairedDifference(hac=_hac_of(interval), bootstrap=interval) for interval in found)


def _hac_of(interval: Interval) -> HacTest:
    if interval.degrees == 0 or math.isnan(interval.low):
        nan = float("nan")
        error = interval.standard_error
        return HacTest(interval.estimate, error, nan, nan, 0, interval.count, interval.dropped)
    return hac_test(interval.estimate, interval.standard_error, interval.degrees, interval.count, interval.dropped)

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from harness.errors import ConfigError
from harness.evaluation import formulas as metrics

calm = settings(derandomize=True, deadline=None, max_examples=60)
Floats = npt.NDArray[np.float32]

# Few distinct values make ties frequent; the magnitudes stay where float32 squares do not lose everything.
NUMBERS = st.one_of(
    st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0]),
    st.floats(-1e3, 1e3, width=32).map(lambda v: round(v, 3)),
)


@st.composite
def tables(draw: st.DrawFn, missing: bool = True) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Score, label and offsets of a few times, some of them empty, with missing values."""
    counts = draw(st.lists(st.integers(0, 12), min_size=1, max_size=6))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    elements = st.one_of(NUMBERS, st.just(float("nan"))) if missing else NUMBERS
    columns = hnp.arrays(np.float32, (2, int(offsets[-1])), elements=elements)
    score, label = draw(columns)
    return np.ascontiguousarray(score), np.ascontiguousarray(label), offsets


def complete(score: Floats, label: Floats, start: int, stop: int) -> tuple[Floats, Floats]:
    pair = np.stack([score[start:stop], label[start:stop]])
    pair = pair[:, ~np.isnan(pair).any(axis=0)]
    return pair[0].astype(np.float64), pair[1].astype(np.float64)


def varies(values: Floats) -> bool:
    return values.size > 1 and bool(np.ptp(values) > 0)


class TestCorrelation:
    @calm
    @given(tables())
    def test_ic_is_numpys_pearson_correlation_of_the_complete_pairs(self, table):
        score, label, offsets = table
        result = metrics.ic(score, label, offsets)
        for s, (start, stop) in enumerate(itertools.pairwise(offsets)):
            x, y = complete(score, label, start, stop)
            if varies(x) and varies(y):
                assert result[s] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
            else:
                assert np.isnan(result[s])

    @calm
    @given(tables())
    def test_rank_ic_is_scipys_spearman_correlation_of_the_complete_pairs(self, table):
        score, label, offsets = table
        result = metrics.rank_ic(score, label, offsets)
        for s, (start, stop) in enumerate(itertools.pairwise(offsets)):
            x, y = complete(score, label, start, stop)
            if varies(x) and varies(y):
                assert result[s] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
            else:
                assert np.isnan(result[s])

    @calm
    @given(tables(missing=False))
    def test_ranks_are_scipys_average_ranks_for_both_widths_of_float(self, table):
        score, _, offsets = table
        expected = [stats.rankdata(score[a:b]) for a, b in itertools.pairwise(offsets)]
        for values in (score, score.astype(np.float64)):
            np.testing.assert_array_equal(metrics.ranks(values, offsets), np.concatenate(expected))

    @calm
    @given(tables())
    def test_a_time_does_not_depend_on_the_others(self, table):
        score, label, offsets = table
        for measure in (metrics.ic, metrics.rank_ic, metrics.mse, metrics.long_short_return):
            together = measure(score, label, offsets)
            for s, (start, stop) in enumerate(itertools.pairwise(offsets)):
                alone = measure(score[start:stop], label[start:stop], np.array([0, stop - start]))
                np.testing.assert_array_equal(alone, together[s : s + 1])

    def test_a_constant_score_is_undefined_and_not_zero_or_noise(self):
        score = np.full(50, np.float32(0.1))
        label = np.random.default_rng(0).standard_normal(50).astype(np.float32)
        offsets = np.array([0, 50])
        assert np.isnan(metrics.ic(score, label, offsets)).all()
        assert np.isnan(metrics.rank_ic(score, label, offsets)).all()

    def test_a_large_offset_costs_no_precision(self):
        rng = np.random.default_rng(1)
        score, label = rng.standard_normal((2, 300))
        offsets = np.array([0, 300])
        plain, shifted = metrics.ic(score, label, offsets), metrics.ic(score + 1e6, label, offsets)
        assert shifted[0] == pytest.approx(plain[0], abs=1e-9)

    def test_an_infinite_score_leaves_its_time_undefined_but_keeps_its_rank(self):
        score = np.array([1.0, np.inf, 2.0], dtype=np.float32)
        label = np.array([1.0, 3.0, 2.0], dtype=np.float32)
        assert np.isnan(metrics.ic(score, label, np.array([0, 3]))).all()
        assert metrics.rank_ic(score, label, np.array([0, 3]))[0] == pytest.approx(1.0)


class TestReturns:
    OFFSETS = np.array([0, 5])
    SCORE = np.array([5, 4, 3, 2, 1], dtype=np.float32)
    LABEL = np.array([0.5, 0.1, 0.0, -0.1, -0.3], dtype=np.float64)

    def test_long_short_is_half_the_difference_of_the_outer_quantiles(self):
        result = metrics.long_short_return(self.SCORE, self.LABEL, self.OFFSETS, quantile=0.2)
        assert result.tolist() == pytest.approx([(0.5 - -0.3) / 2])

    def test_the_sides_are_chosen_before_the_labels_are_looked_at(self):
        label = self.LABEL.copy()
        label[0] = np.nan
        # Two rows a side: the best lacks a label, so the second alone speaks; the third must not move up.
        result = metrics.long_short_return(self.SCORE, label, self.OFFSETS, quantile=0.4)
        assert result.tolist() == pytest.approx([(0.1 - (-0.1 - 0.3) / 2) / 2])

    def test_of_equal_scores_the_earlier_row_comes_first(self):
        score = np.array([1, 0, 1, 0, 1], dtype=np.float32)
        result = metrics.long_short_return(score, self.LABEL, self.OFFSETS, quantile=0.2)
        assert result.tolist() == [(self.LABEL[0] - self.LABEL[1]) / 2]

    def test_where_all_scores_are_equal_there_is_no_best(self):
        score = np.ones(self.LABEL.size, dtype=np.float32)
        codes = np.arange(self.LABEL.size)
        assert np.isnan(metrics.long_short_return(score, self.LABEL, self.OFFSETS, quantile=0.2)).all()
        twice = np.array([0, self.LABEL.size, 2 * self.LABEL.size])
        assert np.isnan(metrics.top_turnover(np.tile(score, 2), np.tile(codes, 2), twice)).all()

    def test_too_few_rows_for_a_side_are_undefined(self):
        assert np.isnan(metrics.long_short_return(self.SCORE, self.LABEL, self.OFFSETS, quantile=0.1)).all()

    def test_long_average_is_the_mean_label_of_the_scored_rows(self):
        score = self.SCORE.copy()
        score[4] = np.nan
        assert metrics.long_average_return(score, self.LABEL, self.OFFSETS).tolist() == pytest.approx([0.125])

    def test_annualising_divides_by_the_horizon(self):
        series = np.array([0.02, np.nan, 0.04])
        assert metrics.annualise(series, 238, horizon=1) == pytest.approx(0.03 * 238)
        assert metrics.annualise(series, 238, horizon=20) == pytest.approx(0.03 * 238 / 20)

    @pytest.mark.parametrize("quantile", [0.0, -0.1, 0.51])
    def test_an_impossible_quantile_is_refused(self, quantile):
        with pytest.raises(ConfigError, match="both sides"):
            metrics.long_short_return(self.SCORE, self.LABEL, self.OFFSETS, quantile)

    def test_an_impossible_horizon_is_refused(self):
        with pytest.raises(ConfigError, match="at least one period"):
            metrics.annualise(np.ones(3), 238, 0)


class TestErrors:
    @calm
    @given(tables())
    def test_mse_and_mae_are_means_over_the_complete_pairs(self, table):
        score, label, offsets = table
        mse = metrics.mse(score, label, offsets)
        for s, (start, stop) in enumerate(itertools.pairwise(offsets)):
            x, y = complete(score, label, start, stop)
            if x.size:
                assert mse[s] == pytest.approx(np.mean((x - y) ** 2), rel=1e-12)
            else:
                assert np.isnan(mse[s])


class TestStability:
    CODES = np.array([0, 1, 2, 3, 4, 1, 2, 3, 4, 5], dtype=np.int32)
    OFFSETS = np.array([0, 5, 10])

    def test_turnover_is_the_share_of_the_top_that_is_new(self):
        score = np.array([9, 8, 1, 1, 1, 9, 1, 1, 1, 8], dtype=np.float32)  # top two: {0, 1}, then {1, 5}
        result = metrics.top_turnover(score, self.CODES, self.OFFSETS, quantile=0.4)
        np.testing.assert_array_equal(result, [np.nan, 0.5])

    def test_turnover_is_zero_for_scores_that_stay(self):
        score = np.array([1, 2, 3, 4, 5, 2, 3, 4, 5, 0], dtype=np.float32)
        assert metrics.top_turnover(score, self.CODES, self.OFFSETS, quantile=0.2)[1] == 0.0

    def test_autocorrelation_is_the_rank_correlation_over_common_instruments(self):
        score = np.array([9, 1, 2, 3, 4, 1, 2, 4, 3, 7], dtype=np.float32)
        result = metrics.score_autocorrelation(score, self.CODES, self.OFFSETS)
        assert np.isnan(result[0])
        assert result[1] == pytest.approx(stats.spearmanr([1, 2, 3, 4], [1, 2, 4, 3]).statistic)

    def test_the_lag_counts_times_and_an_empty_time_between_is_undefined(self):
        codes = np.array([0, 1, 2, 0, 1, 2], dtype=np.int32)
        score = np.array([1, 2, 3, 3, 2, 1], dtype=np.float32)
        offsets = np.array([0, 3, 3, 6])
        np.testing.assert_array_equal(metrics.score_autocorrelation(score, codes, offsets), [np.nan] * 3)
        assert metrics.score_autocorrelation(score, codes, offsets, lag=2)[2] == pytest.approx(-1.0)
        np.testing.assert_array_equal(metrics.top_turnover(score, codes, offsets, 0.4, lag=2), [np.nan, np.nan, 1.0])

    @pytest.mark.parametrize("lag", [1, 5])
    def test_a_series_shorter_than_the_lag_is_undefined(self, lag):
        codes, score = np.array([0, 1], dtype=np.int32), np.array([1, 2], dtype=np.float32)
        assert np.isnan(metrics.score_autocorrelation(score, codes, np.array([0, 2]), lag)).all()
        assert np.isnan(metrics.top_turnover(score, codes, np.array([0, 2]), 0.5, lag)).all()


class TestSummaries:
    def test_mean_and_ir_leave_undefined_values_out(self):
        series = np.array([0.1, np.nan, 0.3])
        assert metrics.mean(series) == pytest.approx(0.2)
        assert metrics.ir(series) == pytest.approx(0.2 / np.std([0.1, 0.3], ddof=1))

    @pytest.mark.parametrize("series", [[], [np.nan], [0.2], [0.2, np.nan], [0.2, 0.2, 0.2]])
    def test_a_ratio_without_a_deviation_is_undefined(self, series):
        assert math.isnan(metrics.ir(np.array(series, dtype=np.float64)))

    def test_the_mean_of_nothing_is_undefined(self):
        assert math.isnan(metrics.mean(np.array([np.nan])))

    def test_no_rows_at_all_are_undefined_everywhere(self):
        nothing, offsets = np.empty(0, dtype=np.float32), np.array([0, 0, 0])
        codes = np.empty(0, dtype=np.int32)
        for measure in (metrics.ic, metrics.rank_ic, metrics.mse, metrics.long_short_return):
            np.testing.assert_array_equal(measure(nothing, nothing, offsets), [np.nan, np.nan])
        np.testing.assert_array_equal(metrics.top_turnover(nothing, codes, offsets), [np.nan, np.nan])
        np.testing.assert_array_equal(metrics.score_autocorrelation(nothing, codes, offsets), [np.nan, np.nan])

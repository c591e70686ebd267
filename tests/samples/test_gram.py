"""Normal equations: exact for any window and weighting, the same bits however they are computed, never silent."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from harness.errors import DataError, LookAheadError
from harness.execution.progress import Silent
from harness.execution.threads import one_blas_thread
from harness.samples.gram import CHUNK, SPAN, GramBlocks, NormalEquations

TIMES, WIDTH = 40, 5
Doubles = npt.NDArray[np.float64]
Table = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]


def make_rows(seed: int = 0, width: int = WIDTH) -> Table:
    """Return features, label (some missing) and offsets; times of different size, some empty."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 12, TIMES))]).astype(np.int64)
    n = int(offsets[-1])
    features = rng.normal(size=(n, width)).astype(np.float32)
    label = (features @ rng.normal(size=width) + rng.normal(size=n)).astype(np.float32)
    label[rng.random(n) < 0.15] = np.nan
    return features, label, offsets


def blocks_of(rows: Table, step: int = 7, origin: int = 0) -> GramBlocks:
    return GramBlocks(*rows, step=step, origin=origin)


def direct(rows: Table, start: int, stop: int, per_time: Doubles | None) -> NormalEquations:
    """Return the statistics of [start, stop) from the rows, in plain NumPy."""
    features, label, offsets = rows
    within = slice(int(offsets[start]), int(offsets[stop]))
    weights = np.ones(stop - start) if per_time is None else per_time
    w = np.repeat(weights, np.diff(offsets[start : stop + 1]))
    x, y = features[within].astype(np.float64), label[within].astype(np.float64)
    known = ~np.isnan(y)
    x, y, w = x[known], y[known], w[known]
    return NormalEquations(
        gram=(x * w[:, None]).T @ x,
        moment=x.T @ (w * y),
        feature_sum=x.T @ w,
        label_sum=float(w @ y),
        label_square=float(w @ y**2),
        weight_sum=float(w.sum()),
        count=int(known.sum()),
    )


def assert_equal(found: NormalEquations, expected: NormalEquations, tolerance: float = 1e-10) -> None:
    assert found.count == expected.count
    for name in ("gram", "moment", "feature_sum", "label_sum", "label_square", "weight_sum"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=tolerance, atol=tolerance)


def same_bits(a: NormalEquations, b: NormalEquations) -> bool:
    scalars = (a.label_sum, a.label_square, a.weight_sum) == (b.label_sum, b.label_square, b.weight_sum)
    return a.gram.tobytes() == b.gram.tobytes() and a.moment.tobytes() == b.moment.tobytes() and scalars


@st.composite
def periods(draw: st.DrawFn) -> tuple[int, int, Doubles | None]:
    start = draw(st.integers(0, TIMES))
    stop = draw(st.integers(start, TIMES))
    kind = draw(st.sampled_from(["none", "blocks", "each"]))
    if kind == "none":
        return start, stop, None
    weight = st.floats(0, 4, allow_subnormal=False)
    if kind == "each":
        return start, stop, np.array(draw(st.lists(weight, min_size=stop - start, max_size=stop - start)))
    length = draw(st.integers(1, 9))
    values = draw(st.lists(weight, min_size=TIMES // length + 1, max_size=TIMES // length + 1))
    return start, stop, np.repeat(values, length)[start:stop]


class TestBlocks:
    @given(periods(), st.integers(1, 50), st.integers(0, 60), st.integers(0, 1000))
    @settings(derandomize=True, deadline=None, max_examples=120)
    def test_any_window_and_weighting_is_exact(
        self, period: tuple[int, int, Doubles | None], step: int, origin: int, seed: int
    ) -> None:
        rows = make_rows(seed)
        assert_equal(blocks_of(rows, step, origin).weighted(*period), direct(rows, *period))

    @given(periods(), st.integers(1, 20), st.integers(0, 20))
    @settings(derandomize=True, deadline=None, max_examples=40)
    def test_bits_do_not_depend_on_what_was_computed_before(
        self, period: tuple[int, int, Doubles | None], step: int, origin: int
    ) -> None:
        rows = make_rows()
        fresh = blocks_of(rows, step, origin).weighted(*period)
        used = blocks_of(rows, step, origin)
        assert used.gram.any()
        used.weighted(3, 31, None)
        assert same_bits(used.weighted(*period), fresh)

    @pytest.mark.parametrize("origin", [0, 5, 39])
    def test_short_blocks_are_exact_and_the_same_bits_whatever_was_asked_before(self, origin: int) -> None:
        rows, rng = make_rows(3), np.random.default_rng(0)
        kept = blocks_of(rows, 1, origin)
        for stop in range(20, TIMES):
            for per_time in (None, np.repeat(rng.random(5), 8)[:stop], rng.random(stop)):
                found = kept.weighted(0, stop, per_time)
                assert_equal(found, direct(rows, 0, stop, per_time))
                alone = blocks_of(rows, 1, origin).weighted(0, stop, per_time)
                assert found.gram.tobytes() == alone.gram.tobytes()

    def test_bits_do_not_depend_on_threads(self) -> None:
        rows = make_rows()
        weights = np.linspace(0.1, 1, TIMES)
        many = blocks_of(rows).weighted(0, TIMES, weights)
        threads = numba.get_num_threads()
        try:
            numba.set_num_threads(1)
            with threadpool_limits(limits=1):
                assert same_bits(blocks_of(rows).weighted(0, TIMES, weights), many)
        finally:
            numba.set_num_threads(threads)

    @given(st.integers(1, 50), st.integers(0, 60))
    @settings(derandomize=True, deadline=None, max_examples=40)
    def test_bounds_cover_the_calendar_in_steps_from_the_origin(self, step: int, origin: int) -> None:
        bounds = blocks_of(make_rows(), step, origin).bounds
        assert bounds[0] == 0
        assert bounds[-1] == TIMES
        lengths = np.diff(bounds)
        assert (lengths[1:-1] == step).all()
        assert (lengths > 0).all()
        assert (lengths <= step).all()
        assert ((bounds[1:-1] - origin) % step == 0).all()

    def test_gram_and_moment_add_up_and_cannot_be_changed(self) -> None:
        rows = make_rows()
        blocks = blocks_of(rows)
        whole = direct(rows, 0, TIMES, None)
        assert blocks.gram.shape == (blocks.bounds.size - 1, WIDTH, WIDTH)
        np.testing.assert_allclose(blocks.gram.sum(axis=0), whole.gram, rtol=1e-12)
        np.testing.assert_allclose(blocks.moment.sum(axis=0), whole.moment, rtol=1e-12)
        for values in (blocks.gram, blocks.moment):
            assert not values.flags.writeable

    def test_rows_without_a_label_do_not_count_whatever_they_hold(self) -> None:
        features, label, offsets = make_rows()
        poisoned = features.copy()
        poisoned[np.isnan(label)] = np.nan
        plain = blocks_of((features, label, offsets)).weighted(2, 33, None)
        assert same_bits(blocks_of((poisoned, label, offsets)).weighted(2, 33, None), plain)

    def test_a_time_of_weight_zero_does_not_count_whatever_it_holds(self) -> None:
        features, label, offsets = make_rows()
        features[offsets[7] : offsets[14]] = np.nan
        weights = np.ones(TIMES)
        weights[7:14] = 0
        assert np.isfinite(blocks_of((features, label, offsets)).weighted(0, TIMES, weights).gram).all()

    def test_closed_blocks_show_nothing_newer(self) -> None:
        features, label, offsets = make_rows()
        closed = blocks_of((features, label, offsets)).until(24)
        assert closed.bounds.tolist() == [0, 7, 14, 21]
        assert len(closed.gram) == len(closed.moment) == 3
        assert_equal(closed.weighted(0, 24, None), direct((features, label, offsets), 0, 24, None))
        for broken in (closed, closed.until(TIMES)):
            with pytest.raises(LookAheadError, match="closed"):
                broken.weighted(0, 25, None)

    @pytest.mark.parametrize("weights", [np.ones(3), -np.ones(TIMES), np.full(TIMES, np.nan)])
    def test_impossible_weights_are_refused(self, weights: Doubles) -> None:
        with pytest.raises(DataError, match="One weight"):
            blocks_of(make_rows()).weighted(0, TIMES, weights)

    def test_an_impossible_step_is_refused(self) -> None:
        with pytest.raises(DataError, match="at least one time"):
            blocks_of(make_rows(), step=0)

    def test_the_observer_hears_of_every_block_once(self) -> None:
        heard: list[str] = []

        class Listener(Silent):
            def start(self, stage: str, total: int) -> None:
                heard.append(f"{stage} {total}")

            def advance(self, stage: str, done: int = 1) -> None:
                heard.append("block")

            def finish(self, stage: str, note: str = "") -> None:
                heard.append("end")

        blocks = GramBlocks(*make_rows(), step=10, observer=Listener())
        assert len(blocks.gram) == 4
        blocks.weighted(0, TIMES, None)
        assert heard == ["gram blocks 4", *["block"] * 4, "end"]

    def test_weights_that_change_within_blocks_sum_each_row_once_for_all_windows(self) -> None:
        summed: list[int] = []

        class Listener(Silent):
            def start(self, stage: str, total: int) -> None:
                summed.append(total)

            def advance(self, stage: str, done: int = 1) -> None: ...

            def finish(self, stage: str, note: str = "") -> None: ...

        blocks = GramBlocks(*make_rows(), step=10, observer=Listener())
        weights = np.repeat(np.arange(1.0, 6.0), 10)[3:][:TIMES]  # changes at 7, 17, 27, 37: once in every block
        blocks.weighted(0, TIMES, weights)
        blocks.weighted(0, TIMES, 2 * weights)
        assert summed == [8]


class TestRows:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_statistics_over_many_chunks_are_exact(self, weighted: bool) -> None:
        rng = np.random.default_rng(1)
        n = SPAN + CHUNK + 17
        features = rng.normal(size=(n, 3)).astype(np.float32)
        label = rng.normal(size=n).astype(np.float32)
        label[::50] = np.nan
        weights = rng.random(n) if weighted else None
        x = np.column_stack([features, label, np.ones(n)]).astype(np.float64)[~np.isnan(label)]
        w = np.ones(len(x)) if weights is None else weights[~np.isnan(label)]
        found = NormalEquations.from_rows(features, label, weights)
        expected = NormalEquations.from_sums((x * w[:, None]).T @ x, len(x))
        assert_equal(found, expected, 1e-9)

    def test_no_rows_give_zero(self) -> None:
        found = NormalEquations.from_rows(np.empty((0, 3), dtype=np.float32), np.empty(0, dtype=np.float32), None)
        assert found.count == 0
        assert not found.gram.any()


class TestSolve:
    @given(st.integers(0, 10_000), st.booleans(), st.booleans())
    @settings(derandomize=True, deadline=None, max_examples=40)
    def test_least_squares_is_that_of_lstsq_over_the_rows(self, seed: int, weighted: bool, intercept: bool) -> None:
        features, label, offsets = make_rows(seed)
        per_time = np.random.default_rng(seed).uniform(0.1, 3, TIMES) if weighted else None
        solution = blocks_of((features, label, offsets)).weighted(0, TIMES, per_time).ridge(fit_intercept=intercept)
        known = ~np.isnan(label)
        root = np.sqrt(np.repeat(np.ones(TIMES) if per_time is None else per_time, np.diff(offsets)))[known]
        x = features[known].astype(np.float64)
        x = np.column_stack([x, np.ones(len(x))]) if intercept else x
        expected = np.linalg.lstsq(x * root[:, None], label[known] * root, rcond=None)[0]
        np.testing.assert_allclose(solution.theta, expected[:WIDTH], rtol=0, atol=1e-8)
        np.testing.assert_allclose(solution.intercept, expected[WIDTH] if intercept else 0.0, rtol=0, atol=1e-8)
        assert solution.rank == WIDTH

    @given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
    @settings(derandomize=True, deadline=None, max_examples=40)
    def test_ridge_solves_its_own_equation(self, seed: int, alpha: float) -> None:
        equations = direct(make_rows(seed), 0, TIMES, None)
        theta = equations.ridge(alpha).theta
        np.testing.assert_allclose(
            (equations.gram + alpha * np.eye(WIDTH)) @ theta, equations.moment, rtol=1e-9, atol=1e-9
        )

    def test_dependent_features_give_the_smallest_solution_and_its_rank(self) -> None:
        features, label, offsets = make_rows()
        wide = np.concatenate([features, features[:, :2] * 0.5, np.zeros((len(label), 1), dtype=np.float32)], axis=1)
        equations = blocks_of((wide, label, offsets)).weighted(0, TIMES, None)
        solution = equations.ridge()
        known = ~np.isnan(label)
        expected = np.linalg.lstsq(wide[known].astype(np.float64), label[known].astype(np.float64), rcond=1e-10)[0]
        np.testing.assert_allclose(solution.theta, expected, rtol=0, atol=1e-9)
        assert solution.rank == WIDTH
        ridge = equations.ridge(1e-3)
        assert ridge.rank == WIDTH
        assert ridge.condition > 1e4
        assert np.isfinite(ridge.theta).all()

    def test_dependence_up_to_float32_rounding_is_found(self) -> None:
        rng = np.random.default_rng(2)
        up, down = rng.random(5000).astype(np.float32), rng.random(5000).astype(np.float32)
        total = up + down
        features = np.column_stack([up / total, down / total, (up - down) / total, rng.normal(size=5000)])
        label = rng.normal(size=5000).astype(np.float32)
        solution = NormalEquations.from_rows(features.astype(np.float32), label, None).ridge(fit_intercept=True)
        assert solution.rank == 2
        assert np.abs(solution.theta).max() < 1

    def test_condition_is_that_of_the_solved_system_with_a_unit_diagonal(self) -> None:
        equations = direct(make_rows(), 0, TIMES, None)
        for alpha in (0.0, 3.0):
            solved = equations.gram + alpha * np.eye(WIDTH)
            scale = np.sqrt(np.diag(solved))
            expected = np.linalg.cond(solved / np.outer(scale, scale))
            np.testing.assert_allclose(equations.ridge(alpha).condition, expected, rtol=1e-9)

    @pytest.mark.parametrize("intercept", [False, True])
    def test_units_of_the_features_do_not_change_the_fit(self, intercept: bool) -> None:
        features, label, offsets = make_rows()
        units = (2.0 ** np.array([-30, 0, 40, 7, -12])).astype(np.float32)
        plain = blocks_of((features, label, offsets)).weighted(0, TIMES, None)
        mixed = blocks_of((features * units, label, offsets)).weighted(0, TIMES, None)
        expected, found = (e.ridge(fit_intercept=intercept) for e in (plain, mixed))
        np.testing.assert_allclose(found.theta * units, expected.theta, rtol=0, atol=1e-10)
        assert found.rank == WIDTH
        np.testing.assert_allclose(found.condition, expected.condition, rtol=1e-9)

    def test_a_constant_feature_beside_an_intercept_counts_as_none(self) -> None:
        features, label, offsets = make_rows()
        features[:, 2] = np.float32(1e6 / 3)
        solution = blocks_of((features, label, offsets)).weighted(0, TIMES, None).ridge(fit_intercept=True)
        assert abs(solution.theta[2]) < 1e-15
        assert solution.rank == WIDTH - 1

    def test_features_that_are_all_zero_give_zero(self) -> None:
        rows = np.zeros((9, 2), dtype=np.float32), np.ones(9, dtype=np.float32)
        solution = NormalEquations.from_rows(*rows, None).ridge(fit_intercept=True)
        assert solution.theta.tolist() == [0, 0]
        assert (solution.intercept, solution.rank, solution.condition) == (1, 0, 1)

    @pytest.mark.parametrize("intercept", [False, True])
    def test_the_square_root_stands_for_the_rows(self, intercept: bool) -> None:
        equations = direct(make_rows(), 0, TIMES, np.linspace(0.2, 2, TIMES))
        root = equations.square_root(fit_intercept=intercept)
        gram, moment = equations.centred() if intercept else (equations.gram, equations.moment)
        np.testing.assert_allclose(root.matrix.T @ root.matrix, gram, rtol=0, atol=1e-9)
        np.testing.assert_allclose(root.matrix.T @ root.target, moment, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite_are_refused_with_their_position(self, value: float) -> None:
        features, label, offsets = make_rows()
        features[np.flatnonzero(~np.isnan(label))[3], 2] = value
        equations = blocks_of((features, label, offsets)).weighted(0, TIMES, None)
        for solve in (equations.ridge, equations.square_root):
            with pytest.raises(DataError, match="missing or infinite") as caught:
                solve()
            assert caught.value.got == "feature positions 2"

    def test_no_weight_at_all_is_refused(self) -> None:
        equations = blocks_of(make_rows()).weighted(0, TIMES, np.zeros(TIMES))
        with pytest.raises(DataError, match="positive weight"):
            equations.ridge()


class TestOneBlasThread:
    @staticmethod
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    def test_nested_and_failing_blocks_restore_what_was_there(self) -> None:
        before = self.threads()
        with one_blas_thread():
            assert self.threads() == {1}
            with one_blas_thread():
                assert self.threads() == {1}
            assert self.threads() == {1}
        assert self.threads() == before
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            raise ZeroDivisionError
        assert self.threads() == before

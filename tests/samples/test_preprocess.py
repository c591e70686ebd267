"""Processors: what each computes, that fitting sees the past only, and that applying never looks at another time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from harness.config.instantiate import build
from harness.data.calendar import Calendar
from harness.errors import ConfigError, DataError, LookAheadError
from harness.samples.preprocess import FittedPipeline, Pipeline, Processor, apply
from harness.samples.processors import (
    CSRankNorm,
    CSZFillna,
    CSZScoreNorm,
    DropCol,
    DropnaLabel,
    Fillna,
    FilterCol,
    MinMaxNorm,
    ProcessInf,
    RobustZScoreNorm,
    TanhProcess,
    ZScoreNorm,
)
from harness.samples.table import RowIndex, SampleTable
from harness.samples.windows import Segment
from harness.store.records import describe

CONF = Path(__file__).resolve().parents[2] / "conf" / "preprocess"
TIMES, WIDTH, LOOK_AHEAD = 30, 4, 3
FIT = Segment(2, 18)
NAMES = ("KMID", "ROC5", "MA20", "VSTD60")
EVERY = (
    RobustZScoreNorm(),
    ZScoreNorm(),
    MinMaxNorm(),
    Fillna(),
    TanhProcess(),
    CSRankNorm(),
    CSZScoreNorm(),
    CSZScoreNorm(method="robust"),
    CSZFillna(),
    ProcessInf(),
    DropCol(("ROC5",)),
    FilterCol(("MA20", "KMID")),
)


def make_table(seed: int = 0, counts: npt.NDArray[np.int64] | None = None) -> SampleTable:
    """Return a table with times of different size (some empty), gaps in the features and labels without a value."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 9, TIMES) if counts is None else counts
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n = int(offsets[-1])
    features = rng.normal(1, 2, (n, WIDTH)).astype(np.float32)
    features[rng.random(features.shape) < 0.1] = np.nan
    label = rng.normal(size=n).astype(np.float32)
    label[rng.random(n) < 0.1] = np.nan
    codes = np.concatenate([np.arange(c) for c in counts]).astype(np.int32)
    return SampleTable(
        Calendar(np.datetime64("2020-01-01") + np.arange(TIMES)),
        tuple(f"I{i}" for i in range(9)),
        RowIndex(offsets, codes),
        features,
        NAMES,
        label,
        LOOK_AHEAD,
    )


def fitted(table: SampleTable, *features: Processor, label: tuple[Processor, ...] = ()) -> FittedPipeline:
    return Pipeline(features, label, "once").fit(table.as_of(TIMES - 1), FIT)


def processed(table: SampleTable, *features: Processor) -> npt.NDArray[np.float32]:
    return fitted(table, *features).features(table.features, table.index.offsets)


def name_of(processor: Processor) -> str:
    return f"{type(processor).__name__}{getattr(processor, 'method', '')}"


def times_of(table: SampleTable) -> npt.NDArray[np.int64]:
    return table.index.times(0, TIMES)


class TestWhatIsComputed:
    def fit_rows(self, table: SampleTable) -> npt.NDArray[np.float64]:
        return table.features[table.index.rows(FIT.start, FIT.stop)].astype(np.float64)

    def test_robust_z_score_uses_median_and_mad_and_clips(self) -> None:
        table = make_table()
        past = self.fit_rows(table)
        centre = np.nanmedian(past, axis=0)
        scale = (np.nanmedian(np.abs(past - centre), axis=0) + 1e-12) * 1.4826
        expected = np.clip((table.features - centre) / scale, -3, 3)
        np.testing.assert_allclose(processed(table, RobustZScoreNorm()), expected, rtol=1e-5, atol=1e-6)
        unclipped = (table.features - centre) / scale
        np.testing.assert_allclose(processed(table, RobustZScoreNorm(clip=None)), unclipped, rtol=1e-5, atol=1e-6)
        assert np.nanmax(np.abs(unclipped)) > 3

    def test_z_score_uses_mean_and_population_deviation(self) -> None:
        table = make_table()
        past = self.fit_rows(table)
        expected = (table.features - np.nanmean(past, axis=0)) / np.nanstd(past, axis=0)
        np.testing.assert_allclose(processed(table, ZScoreNorm()), expected, rtol=1e-5, atol=1e-6)

    def test_min_max_maps_the_past_onto_the_unit_interval(self) -> None:
        table = make_table()
        rows = table.index.rows(FIT.start, FIT.stop)
        scaled = processed(table, MinMaxNorm())
        np.testing.assert_allclose(np.nanmin(scaled[rows], axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(np.nanmax(scaled[rows], axis=0), 1, atol=1e-6)

    def test_a_constant_column_is_left_as_it_is(self) -> None:
        table = make_table()
        features = table.features.copy()
        features[:, 1] = np.float32(0.1)
        table = table.with_columns(features, NAMES, np.array(table.label))
        for norm in (ZScoreNorm(), MinMaxNorm()):
            np.testing.assert_array_equal(processed(table, norm)[:, 1], features[:, 1])

    @given(st.integers(0, 10_000))
    @settings(derandomize=True, deadline=None, max_examples=30)
    def test_rank_is_pandas_percentile_rank_with_mean_ties(self, seed: int) -> None:
        table = make_table(seed)
        rounded = np.round(table.features)  # ties
        table = table.with_columns(rounded, NAMES, np.array(table.label))
        rank = pd.DataFrame(rounded).groupby(times_of(table)).rank(pct=True).to_numpy()
        np.testing.assert_allclose(processed(table, CSRankNorm()), (rank - 0.5) * 3.46, rtol=0, atol=2e-7)

    @given(st.integers(0, 10_000))
    @settings(derandomize=True, deadline=None, max_examples=20)
    def test_cross_sectional_z_score_is_that_of_pandas(self, seed: int) -> None:
        table = make_table(seed)
        groups = pd.DataFrame(table.features.astype(np.float64)).groupby(times_of(table))
        expected = (table.features - groups.transform("mean")) / groups.transform("std")
        np.testing.assert_allclose(processed(table, CSZScoreNorm()), expected, rtol=1e-4, atol=1e-5)

    def test_nothing_that_varies_gives_no_cross_sectional_score(self) -> None:
        table = make_table()
        features = np.full_like(table.features, np.float32(0.1))
        table = table.with_columns(features, NAMES, np.array(table.label))
        for method in ("zscore", "robust"):
            assert np.isnan(processed(table, CSZScoreNorm(method=method))).all()

    def test_gaps_are_filled_by_the_mean_of_their_time(self) -> None:
        table = make_table()
        means = pd.DataFrame(table.features.astype(np.float64)).groupby(times_of(table)).transform("mean").to_numpy()
        gaps = np.isnan(table.features)
        filled = processed(table, CSZFillna())
        np.testing.assert_allclose(filled[gaps], means[gaps], rtol=1e-6)
        np.testing.assert_array_equal(filled[~gaps], table.features[~gaps])

    def test_infinities_become_the_finite_mean_of_their_time(self) -> None:
        table = make_table(counts=np.full(TIMES, 5))
        features = table.features.copy()
        features[6, 0], features[8, 0], features[9, 0] = np.inf, -np.inf, np.nan
        finite = features[[5, 7], 0].mean(dtype=np.float64)
        table = table.with_columns(features, NAMES, np.array(table.label))
        replaced = processed(table, ProcessInf())
        np.testing.assert_allclose(replaced[[6, 8], 0], finite, rtol=1e-6)
        assert np.isnan(replaced[9, 0])

    def test_columns_are_left_out_or_kept_in_the_order_of_the_table(self) -> None:
        table = make_table()
        kept = fitted(table, FilterCol(("MA20", "KMID")), Fillna(9.0))
        assert kept.feature_names == ("KMID", "MA20")
        values = kept.features(table.features, table.index.offsets)
        np.testing.assert_array_equal(values, np.nan_to_num(table.features[:, [0, 2]], nan=9.0))
        assert fitted(table, DropCol(("MA20", "KMID"))).feature_names == ("ROC5", "VSTD60")

    def test_a_column_without_any_value_stays_missing_without_a_warning(self) -> None:
        table = make_table()
        features = table.features.copy()
        features[:, 2] = np.nan
        table = table.with_columns(features, NAMES, np.array(table.label))
        for norm in (RobustZScoreNorm(), ZScoreNorm(), MinMaxNorm()):
            assert np.isnan(processed(table, norm)[:, 2]).all()
            assert (processed(table, norm, Fillna(0.0))[:, 2] == 0).all()

    def test_each_processor_is_fitted_on_what_those_before_it_made(self) -> None:
        table = make_table()
        squashed = table.with_columns(processed(table, TanhProcess()), NAMES, np.array(table.label))
        chained = processed(table, DropCol(("KMID",)), TanhProcess(), ZScoreNorm(), MinMaxNorm())
        stepwise = processed(
            squashed.with_columns(processed(squashed, ZScoreNorm()), NAMES, np.array(table.label)), MinMaxNorm()
        )
        np.testing.assert_array_equal(chained, stepwise[:, 1:])

    def test_no_processor_hands_on_the_raw_features_themselves(self) -> None:
        table = make_table()
        assert processed(table) is table.features


class TestTheLabel:
    def test_its_rank_is_taken_among_the_labels_of_its_time(self) -> None:
        table = make_table()
        pipeline = Pipeline((), (DropnaLabel(), CSRankNorm()), "once").fit(table.as_of(TIMES - 1), FIT)
        ranked = pipeline.label(table.label, table.index.offsets)
        rank = pd.Series(table.label).groupby(times_of(table)).rank(pct=True).to_numpy()
        np.testing.assert_allclose(ranked, (rank - 0.5) * 3.46, rtol=0, atol=2e-7)
        assert np.isnan(table.label).any()

    @pytest.mark.parametrize("chain", [(CSRankNorm(),), (CSZScoreNorm(),), (ProcessInf(),), (RobustZScoreNorm(),)])
    def test_a_missing_label_is_never_made_up(self, chain: tuple[Processor, ...]) -> None:
        table = make_table()
        pipeline = Pipeline((), chain, "once").fit(table.as_of(TIMES - 1), FIT)
        made = pipeline.label(table.label, table.index.offsets)
        assert np.isnan(made[np.isnan(table.label)]).all()

    def test_not_even_by_a_processor_of_the_user(self) -> None:
        class Zero(Processor):
            def transform(self, values: npt.NDArray[np.float32], offsets: Any, state: Any) -> None:
                values[:] = 0

        table = make_table()
        made = Pipeline((), (Zero(),), "once").fit(table.as_of(TIMES - 1), FIT).label(table.label, table.index.offsets)
        np.testing.assert_array_equal(made, np.where(np.isnan(table.label), np.nan, 0))

    @pytest.mark.parametrize("processor", [Fillna(), CSZFillna(), TanhProcess(), DropCol(("label",))])
    def test_processors_that_would_make_one_up_are_refused(self, processor: Processor) -> None:
        with pytest.raises(ConfigError, match="cannot process the label"):
            Pipeline((), (processor,), "once")

    def test_a_label_marker_is_refused_among_the_features(self) -> None:
        with pytest.raises(ConfigError, match="cannot process the features"):
            Pipeline((DropnaLabel(),), (), "once")


class TestPointInTime:
    """The guarantees that make `apply` over the whole table leak-free."""

    @pytest.mark.parametrize("processor", EVERY, ids=name_of)
    def test_what_was_learned_is_read_back_to_the_bit(self, processor: Processor, tmp_path: Path) -> None:
        table = make_table(5)
        chain = (Fillna(), processor) if processor.for_features else ()
        pipeline = Pipeline(chain, (processor,) if processor.for_label else (), "once")
        made = pipeline.fit(table.as_of(len(table.calendar) - 1), Segment(0, 5))
        made.save(tmp_path)
        again = pipeline.load(tmp_path)
        assert again.feature_names == made.feature_names
        one, other = apply(table, made), apply(table, again)
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.label, other.label)

    @pytest.mark.parametrize("processor", EVERY, ids=name_of)
    def test_a_row_depends_on_its_own_time_and_the_fitted_state_only(self, processor: Processor) -> None:
        table = make_table()
        pipeline = fitted(table, processor)
        whole = pipeline.features(table.features, table.index.offsets)
        for t in range(TIMES):
            rows = table.index.rows(t, t + 1)
            alone = pipeline.features(table.features[rows], table.index.local_offsets(t, t + 1))
            assert alone.tobytes() == whole[rows].tobytes()

    @pytest.mark.parametrize("processor", EVERY, ids=name_of)
    def test_values_outside_the_fitted_period_do_not_reach_the_state(self, processor: Processor) -> None:
        table = make_table()
        features = table.features.copy()
        inside = table.index.rows(FIT.start, FIT.stop)
        features[: inside.start] = 1e9
        features[inside.stop :] = -1e9
        poisoned = table.with_columns(features, NAMES, np.array(table.label))
        states = [fitted(t, processor).feature_steps[0][1] for t in (table, poisoned)]
        assert {k: v.tobytes() for k, v in states[0].items()} == {k: v.tobytes() for k, v in states[1].items()}

    def test_fitting_reads_its_period_and_nothing_newer(self) -> None:
        table = make_table()
        view = table.as_of(25)
        Pipeline((RobustZScoreNorm(),), (CSRankNorm(),), "once").fit(view, FIT)
        assert view.reads.feature == FIT.last
        assert view.reads.label_known == -1

    def test_nothing_is_read_when_nothing_learns(self) -> None:
        view = make_table().as_of(25)
        Pipeline((Fillna(), CSRankNorm()), (CSRankNorm(),), "once").fit(view, FIT)
        assert view.reads.feature == -1
        assert view.reads.label_known == -1

    def test_a_learning_label_processor_reads_matured_labels(self) -> None:
        view = make_table().as_of(FIT.last + LOOK_AHEAD)
        Pipeline((), (ZScoreNorm(),), "once").fit(view, FIT)
        assert view.reads.label_known == FIT.last + LOOK_AHEAD

    def test_fitting_on_the_future_is_refused(self) -> None:
        table = make_table()
        with pytest.raises(LookAheadError):
            Pipeline((RobustZScoreNorm(),), (), "once").fit(table.as_of(FIT.last - 1), FIT)
        with pytest.raises(LookAheadError):
            Pipeline((), (ZScoreNorm(),), "once").fit(table.as_of(FIT.last + LOOK_AHEAD - 1), FIT)


class TestDeterminism:
    @pytest.mark.parametrize("processor", EVERY, ids=name_of)
    def test_bits_do_not_depend_on_threads(self, processor: Processor) -> None:
        table = make_table(counts=np.full(TIMES, 300))
        threads = numba.get_num_threads()
        try:
            numba.set_num_threads(1)
            alone = processed(table, processor)
        finally:
            numba.set_num_threads(threads)
        assert alone.tobytes() == processed(table, processor).tobytes()

    def test_the_table_itself_is_untouched(self) -> None:
        table = make_table()
        before = table.features.copy()
        made = apply(table, fitted(table, *EVERY[:10], label=(CSRankNorm(),)))
        np.testing.assert_array_equal(table.features, before)
        assert made.features.dtype == made.label.dtype == np.float32
        assert made.features.flags.c_contiguous
        np.testing.assert_array_equal(made.index.offsets, table.index.offsets)


class TestMistakes:
    def test_an_unknown_feature_is_named_with_the_nearest(self) -> None:
        with pytest.raises(ConfigError, match="KMIDD") as caught:
            fitted(make_table(), DropCol(("KMIDD",)), ZScoreNorm())
        assert caught.value.hint == "did you mean `KMID`?"

    def test_nothing_may_not_remain(self) -> None:
        with pytest.raises(ConfigError, match="No feature would remain"):
            fitted(make_table(), DropCol(NAMES), ZScoreNorm())
        with pytest.raises(ConfigError, match="No feature would remain"):
            FilterCol(())

    @pytest.mark.parametrize("clip", [0.0, -3.0, float("nan")])
    def test_an_impossible_bound_is_refused(self, clip: float) -> None:
        with pytest.raises(ConfigError, match="out of range"):
            RobustZScoreNorm(clip=clip)

    @pytest.mark.parametrize("norm", [ZScoreNorm(), MinMaxNorm()], ids=name_of)
    @pytest.mark.parametrize("values", [(np.inf,), (-np.inf,), (np.inf, -np.inf)])
    def test_infinite_values_are_refused_by_name(self, norm: Processor, values: tuple[float, ...]) -> None:
        table = make_table()
        features = table.features.copy()
        first = table.index.rows(FIT.start, FIT.stop).start
        for at, value in enumerate(values):
            features[first + at, 1] = value
        table = table.with_columns(features, NAMES, np.array(table.label))
        with pytest.raises(DataError) as caught:
            processed(table, norm)
        assert caught.value.got == "ROC5"
        assert np.isfinite(processed(table, ProcessInf(), Fillna(), norm)).all()

    def test_other_features_than_fitted_on_are_refused(self) -> None:
        table = make_table()
        with pytest.raises(DataError, match="other features"):
            fitted(table, ZScoreNorm()).features(table.features[:, :2], table.index.offsets)

    def test_something_else_is_not_a_processor(self) -> None:
        with pytest.raises(ConfigError, match="not a processor"):
            Pipeline(("Fillna",), (), "once")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_yaml_is_a_pipeline_whose_fields_it_spells_out(path: Path) -> None:
    node = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    assert isinstance(node, dict)
    pipeline: Any = build(node)
    assert isinstance(pipeline, Pipeline)
    table = make_table()
    view = table.as_of(TIMES - 1)
    processed_table = apply(table, pipeline.fit(view, FIT))
    assert len(processed_table) == len(table)
    assert build(describe(pipeline)) == pipeline


def test_the_yaml_for_linear_models_leaves_no_gap_and_the_one_for_trees_leaves_features_alone() -> None:
    table = make_table()

    def made(name: str) -> SampleTable:
        pipeline: Any = build(OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml")))
        return apply(table, pipeline.fit(table.as_of(TIMES - 1), FIT))

    assert np.isfinite(made("linear").features).all()
    assert made("qlib_linear").features.tobytes() == made("linear").features.tobytes()
    assert made("tree").features is table.features
    assert made("tree").label.tobytes() == made("linear").label.tobytes()
    assert made("none").label is table.label

"""From a panel to the sample matrix: rows, dropped features, buffers, progress, and independence of threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.execution.progress import Silent
from harness.features.engine import check_fields, compute_expression, compute_features
from harness.features.expression import parse
from harness.features.feature_set import Alpha158, Expressions, FeatureSet
from harness.features.lowering import lower, schedule
from tests.features.panels import all_rows, bits, make_panel, random_fields

SMALL = Expressions(
    {
        "momentum": "$close/Ref($close, 5) - 1",
        "mean": "Mean($close, 7)/$close",
        "vwap": "$vwap/$close",
        "rank": "Rank($volume, 9)",
    }
).feature_set()
# What shares a pass over the windows of a series, kinds and levels too; values that leave no sum as it was.
SHARING = (
    *(f"{name}($close, {{}})" for name in ("Sum", "Mean", "Var", "Std", "Mad", "Med", "Rank", "Max", "Min")),
    *(f"{name}($close, {{}})" for name in ("Slope", "Rsquare", "Resi", "IdxMax", "IdxMin", "Count")),
    *("Skew($close, 3{})", "Kurt($close, 4{})"),  # they need three and four values
    *("Quantile($close, {}, 0.2)", "Quantile($close, {}, 0.9)", "Mean($close > $open, {})", "Sum($close > $open, {})"),
    *("Corr($close, $volume, {})", "Cov($close, $volume, {})", "$close/Mean($close, {})"),
)
ODD = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-30, 3e38, 1.0])


class Recorder(Silent):
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, stage: str, total: int) -> None:
        self.calls.append(("start", stage, total))

    def advance(self, stage: str, done: int = 1) -> None:
        self.calls.append(("advance", stage, done))

    def finish(self, stage: str, note: str = "") -> None:
        self.calls.append(("finish", stage, note))

    def notice(self, message: str) -> None:
        self.calls.append(("notice", message))


def test_each_row_holds_the_features_of_its_time_and_instrument() -> None:
    panel = make_panel(random_fields(1, instruments=20))
    offsets, codes = all_rows(panel)
    matrix = compute_features(panel, SMALL, offsets, codes)
    assert matrix.values.dtype == np.float32
    assert matrix.values.flags.c_contiguous
    times = np.repeat(np.arange(len(panel.calendar)), np.diff(offsets))
    for column, name in enumerate(matrix.names):
        dense = compute_expression(panel, dict(zip(SMALL.names, SMALL.expressions, strict=True))[name])
        np.testing.assert_array_equal(matrix.values[:, column], dense[times, codes])


def test_a_feature_of_a_market_field_that_the_panel_lacks_is_dropped_and_named() -> None:
    panel = make_panel(random_fields(2))
    recorder = Recorder()
    matrix = compute_features(panel, SMALL, *all_rows(panel), observer=recorder)
    assert matrix.names == ("momentum", "mean", "rank")
    assert matrix.dropped == ("vwap",)
    assert ("notice", "1 feature(s) dropped, NaN in every row: vwap") in recorder.calls


def test_a_field_without_any_value_counts_as_lacking() -> None:
    fields = random_fields(2)
    fields["vwap"] = np.full_like(fields["close"], np.nan)
    panel = make_panel(fields)
    assert compute_features(panel, SMALL, *all_rows(panel)).dropped == ("vwap",)


def test_a_feature_that_turns_out_nan_in_every_row_is_dropped_too() -> None:
    panel = make_panel(random_fields(3))
    features = FeatureSet(("a", "never", "b"), ("$close", "Log(0 - $close)", "$open"))
    matrix = compute_features(panel, features, *all_rows(panel))
    assert (matrix.names, matrix.dropped) == (("a", "b"), ("never",))
    assert matrix.values.flags.c_contiguous
    np.testing.assert_array_equal(matrix.values[:, 0], panel.fields["close"][panel.traded])
    np.testing.assert_array_equal(matrix.values[:, 1], panel.fields["open"][panel.traded])


def test_only_what_must_be_missing_is_dropped_for_a_missing_field() -> None:
    panel = make_panel(random_fields(3))
    texts = {"known": "If($vwap > 0, $vwap, $close)", "either": "If($close > 9, 1, $vwap)"}
    never = {"counted": "Count($vwap, 5)", "compared": "Mean($close > $vwap, 5)", "flag": "If($vwap > 0, 1, 0)"}
    matrix = compute_features(panel, Expressions(texts | never).feature_set(), *all_rows(panel))
    assert matrix.names == ("known", "either")
    assert matrix.dropped == tuple(never)  # a series that never begins has no values, not even a count of 0
    np.testing.assert_array_equal(matrix.values[:, 0], panel.fields["close"][panel.traded])


def test_a_feature_set_that_is_nan_everywhere_is_an_error() -> None:
    panel = make_panel(random_fields(3))
    with pytest.raises(DataError, match="Every feature is NaN"):
        compute_features(panel, FeatureSet(("v",), ("$vwap",)), *all_rows(panel))


def test_an_unknown_field_suggests_the_nearest() -> None:
    panel = make_panel(random_fields(3))
    with pytest.raises(DataError) as caught:
        compute_expression(panel, "$clsoe/$open")
    assert "`$clsoe`" in caught.value.what
    assert caught.value.hint == "did you mean `close`?"
    assert "$volume" in str(caught.value.expected)


def test_a_label_of_a_field_that_is_not_there_names_what_to_set() -> None:
    panel = make_panel({"value": np.ones((3, 1))})
    with pytest.raises(DataError, match="no field `\\$close`") as caught:
        check_fields(panel, {"label": parse("Ref($close, -2)/Ref($close, -1) - 1")})
    assert "'label.price=$value'" in str(caught.value.hint)
    assert "label.expression" in str(caught.value.hint)


def test_an_unknown_instrument_of_a_mask_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean `I001`"):
        compute_expression(make_panel(random_fields(3)), "Mask($close, I0001)")


def test_a_mask_reads_the_instrument_that_is_written_so_and_none_of_two_that_differ_in_case() -> None:
    panel = replace(make_panel({"close": np.arange(6.0).reshape(3, 2) + 1}), instruments=("AbC", "abc"))
    for column, code in enumerate(panel.instruments):
        masked = compute_expression(panel, f"Mask($close, {code})")
        np.testing.assert_array_equal(masked, panel.fields["close"][:, [column, column]])
    with pytest.raises(DataError, match="2 instruments that differ from it in case alone"):
        compute_expression(panel, "Mask($close, ABC)")


def test_features_can_be_computed_into_a_memory_map(tmp_path: Path) -> None:
    panel = make_panel(random_fields(4))
    offsets, codes = all_rows(panel)
    plain = compute_features(panel, SMALL, offsets, codes)
    buffer = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(len(codes), len(SMALL)))
    mapped = compute_features(panel, SMALL, offsets, codes, out=buffer)
    np.testing.assert_array_equal(plain.values, mapped.values)
    assert np.shares_memory(mapped.values, buffer)
    assert mapped.values.shape == (len(codes), 3)
    assert mapped.values.flags.c_contiguous


@pytest.mark.parametrize("shape", [(5, 4), (4,)])
def test_a_buffer_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    panel = make_panel(random_fields(4))
    with pytest.raises(DataError, match="buffer"):
        compute_features(panel, SMALL, *all_rows(panel), out=np.empty(shape, dtype=np.float32))


def test_progress_counts_instruments() -> None:
    panel = make_panel(random_fields(5, instruments=7))
    recorder = Recorder()
    compute_features(panel, SMALL, *all_rows(panel), observer=recorder)
    assert recorder.calls[0] == ("start", "features", 7)
    assert sum(int(str(c[2])) for c in recorder.calls if c[0] == "advance") == 7
    assert recorder.calls[-1][:2] == ("finish", "features")


def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = make_panel(random_fields(6, times=3000, instruments=23))
    offsets, codes = all_rows(panel)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("harness.features.engine.kernel_threads", lambda count=threads: count)
        results.append(compute_features(panel, SMALL, offsets, codes).values)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_an_instrument_alone_has_the_same_features_as_among_others() -> None:
    fields = random_fields(7, times=200, instruments=9)
    together, alone = make_panel(fields), make_panel({name: values[:, 4:5] for name, values in fields.items()})
    for text in ("Corr($close, Log($volume+1), 20)", "Log($volume+1)", "Slope($close, 10)/$close"):
        np.testing.assert_array_equal(compute_expression(together, text)[:, 4:5], compute_expression(alone, text))


def test_an_instrument_that_was_never_listed_has_no_values() -> None:
    fields = random_fields(8, instruments=2)
    for values in fields.values():
        values[:, 1] = np.nan
    for text in ("Mean($close > 1, 5)", "Ref($close, 0)", "Sum($close, 0)", "Count($close, 5)"):
        assert np.isnan(compute_expression(make_panel(fields), text)[:, 1]).all()


def test_equal_subexpressions_are_computed_once() -> None:
    shared, _ = lower((parse("Std($close, 20)/$close"), parse("Std( $close,20 )*2"), parse("$close>Ref($close,1)")))
    kernels = [node.kernel for node in shared]
    assert kernels.count("moments") == kernels.count("field") == 1
    whole, _ = lower(Alpha158().feature_set().parsed())
    assert len(whole) < 450  # 158 features of about seven operators each


def test_intermediate_results_are_freed_after_their_last_use() -> None:
    alive, most = 0, 0
    for computed, dying in schedule(*lower(Alpha158().feature_set().parsed())):
        alive += len(computed)
        most = max(most, alive)
        alive -= len(dying)
    assert alive == 0
    assert most < 150


def test_windows_of_a_series_are_computed_in_one_pass() -> None:
    nodes, outputs = lower(Alpha158().feature_set().parsed())
    steps = [computed for computed, _ in schedule(nodes, outputs)]
    assert [len(one) for one in steps if nodes[one[0]].kernel == "trend"] == [15]  # of five windows, three results
    assert [len(one) for one in steps if nodes[one[0]].kernel == "quantile"] == [10]
    assert [len(one) for one in schedule(nodes, outputs[:1]) if nodes[one[0][0]].kernel == "moments"] == []


@given(
    asked=st.lists(st.tuples(st.sampled_from(SHARING), st.sampled_from((1, 2, 5, 9, 60, 500, 0))), min_size=2),
    values=st.lists(ODD, min_size=1, max_size=12),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_results_computed_together_have_the_bits_that_each_has_alone(
    asked: list[tuple[str, int]], values: list[float], seed: int
) -> None:
    """Windows and kinds of a series share a pass, in whatever combination, over blocks of times."""
    rng = np.random.default_rng(seed)
    fields = {
        name: rng.choice(np.array([*values, np.nan, 1.5], np.float32), (450, 2)) for name in ("close", "open", "volume")
    }
    fields["close"][: seed * 3, 1] = np.nan
    fields["close"][-1, 0] = 1.5  # one feature has a value, whatever is asked: a variance of one value has none
    panel, texts = make_panel(fields), sorted({"$close", *(text.format(window) for text, window in asked)})
    index = all_rows(panel)
    together = compute_features(panel, FeatureSet(tuple(texts), tuple(texts)), *index)
    missing = together.values[np.isnan(together.values)].view(np.uint32)
    assert set(missing.tolist()) <= {0x7FC00000}, "what is missing has the same bits, whatever made it"
    times = np.repeat(np.arange(len(panel.calendar)), np.diff(index[0]))
    for name, column in zip(together.names, together.values.T, strict=True):
        np.testing.assert_array_equal(bits(column), bits(compute_expression(panel, name)[times, index[1]]), name)


def test_a_panel_of_one_time_is_enough() -> None:
    panel = make_panel({"close": np.ones((1, 2)), "open": np.full((1, 2), 2.0)})
    for text, expected in (("Mean($close, 5)/$open", 0.5), ("Ref($close, 1)", np.nan), ("Ref($close, -1)", np.nan)):
        np.testing.assert_array_equal(compute_expression(panel, text), np.full((1, 2), expected, dtype=np.float32))

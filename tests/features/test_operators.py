"""Each operator against its meaning in pandas and NumPy, on series with gaps, ties, flat stretches and infinities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.features.engine import compute_expression
from harness.features.expression import OPERATORS
from tests.features import reference
from tests.features.panels import first_times, make_panel, random_fields

WINDOWS: dict[str, tuple[float, ...]] = {"EMA": (1, 5, 2.5, 0.3, 0), "Ref": (1, 5, 0, -3, 500), "Delta": (1, 5, 0, -3)}
WINDOWS |= {"Skew": (3, 7, 20, 0), "Kurt": (4, 7, 20, 0)}
SERIES = ("$close", "$tied", "$flat", "$volume/Ref($volume, 1)")


def check(text: str, fields: dict[str, np.ndarray], expected: list[pd.Series], tolerance: float = 1e-6) -> None:
    got = compute_expression(make_panel(fields), text)
    for column, (start, series) in enumerate(zip(first_times(fields), expected, strict=True)):
        assert np.isnan(got[:start, column]).all(), text
        wanted = series.to_numpy(dtype=np.float64)
        scale = np.nanmax(np.abs(wanted[np.isfinite(wanted)]), initial=0.0)
        np.testing.assert_allclose(got[start:, column], wanted, rtol=tolerance, atol=tolerance * scale, err_msg=text)


def columns(fields: dict[str, np.ndarray], text: str) -> list[pd.Series]:
    """Return an elementwise series of each instrument, from its first time on, in float32 like qlib."""
    with np.errstate(all="ignore"):
        if text == "$volume/Ref($volume, 1)":
            volume = fields["volume"]
            values = volume / np.vstack([np.full_like(volume[:1], np.nan), volume[:-1]])
        else:
            values = fields[text[1:]]
    return [pd.Series(values[start:, i].astype(np.float64)) for i, start in enumerate(first_times(fields))]


@pytest.mark.parametrize("operator", sorted(reference.ROLLING))
@pytest.mark.parametrize("series", SERIES)
def test_a_rolling_operator_means_what_pandas_says(operator: str, series: str) -> None:
    fields = random_fields(seed=1)
    for window in WINDOWS.get(operator, (1, 2, 5, 20, 0)):
        inputs = columns(fields, series)
        if operator in ("Ref", "Delta", "Count"):  # these do not treat infinities as missing
            finite = columns(fields, "$volume") if "volume" in series else inputs
            inputs, text = finite, f"{operator}({'$volume' if 'volume' in series else series}, {window})"
        else:
            text = f"{operator}({series}, {window})"
        expected = [reference.ROLLING[operator](x, window) for x in inputs]
        check(text, fields, expected)


@pytest.mark.parametrize("operator", sorted(reference.PAIRS))
@pytest.mark.parametrize(
    ("left", "right"), [("$close", "$volume"), ("$flat", "$tied"), ("$volume/Ref($volume, 1)", "$open")]
)
def test_a_rolling_pair_uses_the_times_at_which_both_are_known(operator: str, left: str, right: str) -> None:
    fields = random_fields(seed=2)
    fields["open"][30:45, 1] = np.nan
    for window in (1, 2, 5, 20, 0):
        inputs = zip(columns(fields, left), columns(fields, right), strict=True)
        expected = [reference.PAIRS[operator](x, y, window) for x, y in inputs]
        check(f"{operator}({left}, {right}, {window})", fields, expected)


@pytest.mark.parametrize("level", [0, 0.2, 0.5, 0.8, 1])
def test_a_quantile_is_linear_between_neighbours(level: float) -> None:
    fields = random_fields(seed=3)
    for series in SERIES:
        for window in (1, 5, 20, 0):
            expected = [reference.quantile(x, window, level) for x in columns(fields, series)]
            check(f"Quantile({series}, {window}, {level})", fields, expected)


@pytest.mark.parametrize("template", sorted(reference.ELEMENTWISE))
def test_an_elementwise_operator_is_its_numpy_function_in_float32(template: str) -> None:
    fields = random_fields(seed=4)
    function = reference.ELEMENTWISE[template]
    with np.errstate(all="ignore"):
        x, y = fields["tied"], fields["open"]
        expected = (function(x) if isinstance(function, np.ufunc) and function.nin == 1 else function(x, y)).astype(
            np.float32
        )
    got = compute_expression(make_panel(fields), template.format("$tied", "$open"))
    for column, start in enumerate(first_times(fields)):
        np.testing.assert_array_equal(got[start:, column], expected[start:, column])


def test_every_operator_of_the_language_has_a_reference() -> None:
    elementwise = " ".join(reference.ELEMENTWISE)
    infix = {"Add", "Sub", "Mul", "Div"}
    for name in OPERATORS:
        known = name in reference.ROLLING or name in reference.PAIRS or f"{name}(" in elementwise or name in infix
        assert known or name in ("Quantile", "Mask"), f"no reference for {name}"


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    operator=st.sampled_from(
        ["Mean", "Std", "Rank", "IdxMax", "IdxMin", "Slope", "Resi", "Max", "Min", "Mad", "WMA", "Med"]
    ),
    window=st.integers(1, 70),
    gaps=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_any_window_on_any_series_means_what_pandas_says(seed: int, operator: str, window: int, gaps: float) -> None:
    fields = random_fields(seed, gaps=gaps)
    for series in ("$close", "$tied"):
        expected = [reference.ROLLING[operator](x, window) for x in columns(fields, series)]
        check(f"{operator}({series}, {window})", fields, expected, 1e-5)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    window=st.integers(1, 70),
    level=st.floats(0, 1),
    gaps=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_any_quantile_of_any_window_is_linear_between_neighbours(
    seed: int, window: int, level: float, gaps: float
) -> None:
    fields = random_fields(seed, gaps=gaps)
    expected = [reference.quantile(x, window, level) for x in columns(fields, "$tied")]
    check(f"Quantile($tied, {window}, {level})", fields, expected)


def test_a_median_of_zeros_has_no_sign_whatever_was_there_before_its_window() -> None:
    """A feature may be −0.0 where no field is; of equal values it is one alone that leaves a window."""
    x = np.array([1, 0, 0, 0, 0, 0, 0], np.float32)
    y = np.array([1, 1, -1, -1, -1, 1, -1], np.float32)
    panel = make_panel({"close": x[:, None], "y": y[:, None]})
    for text in ("Med($close*$y, 2)", "Quantile($close*$y, 3, 0.5)"):
        got = compute_expression(panel, text)[3:, 0]
        assert (got == 0).all()
        assert not np.signbit(got).any()


def test_a_reference_to_a_condition_is_unknown_before_the_first_time() -> None:
    fields = {"close": np.array([[np.nan], [1.0], [2.0], [3.0]], dtype=np.float32)}
    got = compute_expression(make_panel(fields), "Ref($close > 1.5, 1)")
    np.testing.assert_array_equal(got[:, 0], np.array([np.nan, np.nan, 0, 1], dtype=np.float32))


def test_a_window_of_conditions_begins_at_the_first_time_not_before() -> None:
    fields = {"close": np.array([[np.nan], [np.nan], [1.0], [2.0], [np.nan], [3.0]], dtype=np.float32)}
    got = compute_expression(make_panel(fields), "Mean($close > Ref($close, 1), 5)")
    np.testing.assert_allclose(got[2:, 0], [0, 1 / 2, 1 / 3, 1 / 4])  # a suspended day is no rise


def test_a_mask_reads_one_other_instrument() -> None:
    fields = random_fields(seed=5, gaps=0.0)
    panel = make_panel(fields)
    alone = compute_expression(panel, "Mean($close, 5)")
    masked = compute_expression(panel, "Mask(Mean($close, 5), i000)")
    for column, start in enumerate(first_times(fields)):
        np.testing.assert_array_equal(masked[start:, column], alone[start:, 0])
    nested = compute_expression(panel, "Mask($close - Mask($close, I001), I000)")
    np.testing.assert_array_equal(nested[30:, 2], (fields["close"][:, 0] - fields["close"][:, 1])[30:])


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), level=st.sampled_from([0.0, 1e3, 1e6]), jump=st.sampled_from([0.0, 1.0, 1e4, -1e6]))
def test_a_high_level_or_a_jump_inside_the_window_costs_no_precision(seed: int, level: float, jump: float) -> None:
    """The reference that moments are taken about is one of the window's values: even the newest may be the odd one."""
    rng = np.random.default_rng(seed)
    x = (level + np.round(rng.normal(0, 1, 40), 3)).astype(np.float32)
    x[25] += np.float32(jump)
    y = rng.normal(0, 1, 40).astype(np.float32)
    panel = make_panel({"x": x[:, None], "y": y[:, None]})
    exact_x, exact_y = (np.lib.stride_tricks.sliding_window_view(v.astype(np.float64), 10) for v in (x, y))
    gaps_x, gaps_y = (v - v.mean(axis=1, keepdims=True) for v in (exact_x, exact_y))
    steps = np.arange(10) - 4.5
    expected = {
        "Std($x, 10)": np.sqrt((gaps_x**2).sum(axis=1) / 9),
        "Slope($x, 10)": (steps * gaps_x).sum(axis=1) / (steps**2).sum(),
        "Cov($x, $y, 10)": (gaps_x * gaps_y).sum(axis=1) / 9,
        "Corr($x, $y, 10)": (gaps_x * gaps_y).sum(axis=1) / np.sqrt((gaps_x**2).sum(axis=1) * (gaps_y**2).sum(axis=1)),
    }
    for text, wanted in expected.items():
        got = compute_expression(panel, text)[9:, 0]
        np.testing.assert_allclose(got, wanted, rtol=2e-7, atol=2e-7 * abs(wanted).max(), err_msg=text)

"""Where a series begins: at the first values of the fields that it reads, and of no others.

What fills windows (how long they are at first), counts, places of extremes and expanding means hangs on it.
"""

from __future__ import annotations

import numpy as np
import pytest

from harness.features.engine import compute_expression, compute_features
from harness.features.feature_set import Alpha158, FeatureSet
from tests.features import reference
from tests.features.panels import Floats, all_rows, make_panel, random_fields

PRICES = ("close", "open", "high", "low", "volume")
SENSITIVE = (
    *("IdxMax($close, 20)", "IdxMin($close/$open, 20)", "WMA($close, 20)", "EMA($close, 0)", "EMA($close, 5)"),
    *("Ref($close, 0)", "Delta($close, 0)", "Ref($close > 20, 1)", "Mean($close > Ref($close, 1), 7)"),
    *("Count($close, 9)", "Quantile($close, 0, 0.3)", "Not($close > 20)", "If($close > $open, 1, 0)", "Rank($open, 0)"),
    *("Mask(IdxMax($close, 20), I001)", "Mean($close > Mask($close, I001), 9)"),
)
TEMPLATES = (
    *(f"{name}($close/$open, {window})" for name in sorted(reference.ROLLING) for window in (7, 0)),
    *(f"{name}($close, $open, {window})" for name in sorted(reference.PAIRS) for window in (7, 0)),
    *(text.format("$close", "$open") for text in sorted(reference.ELEMENTWISE) if "{1}" in text and "If(" not in text),
    *(f"Mean({text}, 5)" for text in ("$close > $open", "($close>$open) & ($open>2)", "Not($close == $open)")),
)


def _features(fields: dict[str, Floats], texts: tuple[str, ...]) -> Floats:
    panel = make_panel(fields)
    names = tuple(f"f{i}" for i in range(len(texts)))
    return compute_features(panel, FeatureSet(names, texts), *all_rows(panel)).values


@pytest.mark.parametrize(("seed", "share", "lead"), [(0, 0.0, 0), (1, 0.1, 3), (2, 0.9, 50), (3, 1.0, 90)])
def test_another_field_changes_no_feature_that_does_not_read_it(seed: int, share: float, lead: int) -> None:
    fields = {name: values for name, values in random_fields(seed).items() if name in PRICES}
    rng = np.random.default_rng(seed)
    other = rng.normal(size=fields["close"].shape).astype(np.float32)
    other[rng.random(other.shape) < share] = np.nan
    other[:lead, 0] = np.nan
    texts = (*Alpha158().feature_set().expressions, *SENSITIVE)
    texts = tuple(text for text in texts if "$vwap" not in text)
    np.testing.assert_array_equal(_features(fields, texts), _features(fields | {"other": other}, texts))


@pytest.mark.parametrize("late", [("close",), ("open",), ("close", "open")], ids="-".join)
def test_leading_missing_values_are_as_if_the_series_began_there(late: tuple[str, ...]) -> None:
    """What reads two fields begins when both have; what stood in one of them before changes nothing."""
    fields = {name: random_fields(11, times=60)[name] for name in ("close", "open")}
    whole = {name: np.where(np.isnan(values), np.float32(9.0), values) for name, values in fields.items()}
    for lead in (1, 10, 59, 60):
        panel = {name: values.copy() for name, values in whole.items()} | {"always": np.ones_like(whole["close"])}
        for name in late:
            panel[name][:lead] = np.nan
        began = {name: values[lead:] for name, values in whole.items()}
        for text in TEMPLATES:
            got = compute_expression(make_panel(panel), text)
            assert np.isnan(got[:lead]).all(), text
            if lead < 60:
                expected = compute_expression(make_panel(began), text)
                np.testing.assert_allclose(got[lead:], expected, rtol=1e-6, err_msg=text)


def test_a_weighted_mean_of_a_price_beside_an_older_volume_is_of_the_price_s_size() -> None:
    close = np.full((40, 1), np.nan, dtype=np.float32)
    close[10:, 0] = 10 + 0.01 * np.arange(30)
    fields = {"close": close, "volume": np.ones((40, 1), dtype=np.float32)}
    alone = compute_expression(make_panel({"close": close[10:]}), "WMA($close, 20)")
    got = compute_expression(make_panel(fields), "WMA($close, 20)")
    np.testing.assert_array_equal(got[10:], alone)
    assert got[10, 0] == np.float32(10.0)


def test_a_choice_falls_back_until_its_first_branch_begins() -> None:
    fields = {"close": np.arange(1, 7, dtype=np.float32)[:, None]}
    fields["vwap"] = np.array([np.nan, np.nan, 30, np.nan, 50, 60], dtype=np.float32)[:, None]
    got = compute_expression(make_panel(fields), "If($vwap > 0, $vwap, $close)")[:, 0]
    np.testing.assert_array_equal(got, np.array([1, 2, 30, 4, 50, 60], dtype=np.float32))
    flag = compute_expression(make_panel(fields), "If($vwap > 40, 1, 0)")[:, 0]
    np.testing.assert_array_equal(flag, np.array([np.nan, np.nan, 0, 0, 1, 1], dtype=np.float32))
    # arithmetic of a condition is a number even where nothing is known: a choice must not take it for a value
    taken = compute_expression(make_panel(fields), "If($close > 1.5, ($vwap > 40) * 1.5, $close)")[:, 0]
    np.testing.assert_array_equal(taken, np.array([1, np.nan, 0, 0, 1.5, 1.5], dtype=np.float32))

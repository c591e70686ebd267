"""Which times an expression reads, known from its text alone and true of the computed values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.features.engine import compute_expression
from harness.features.expression import look_ahead, look_back, parse
from harness.features.feature_set import ALPHA158, ALPHA360
from tests.features.panels import make_panel, random_fields

WINDOWED = (
    *("Mean", "Std", "Var", "Sum", "Max", "Min", "IdxMax", "IdxMin", "Med", "Mad", "Rank", "Count", "Slope", "Rsquare"),
    *("Resi", "WMA", "Skew", "Kurt"),
)


@pytest.mark.parametrize(
    ("text", "back", "ahead"),
    [
        ("$close", 0, 0),
        ("Ref($close, 5)", 5, 0),
        ("Ref($close, -5)", 0, 5),
        ("Ref($close, -21)/Ref($close, -1) - 1", 0, 21),
        ("Ref(Ref($close, -5), 5)", 0, 0),
        ("Ref(Ref($close, 5), -5)", 0, 0),
        ("Ref(Ref($close, -5), 3)", 0, 2),
        ("Mean($close, 20)", 19, 0),
        ("Mean(Ref($close, -5), 3)", 0, 5),
        ("Ref(Mean($close, 20), -5)", 14, 5),
        ("Mean(Mean($close, 20), 5)", 23, 0),
        ("Corr($close/Ref($close, 1), $volume, 10)", 10, 0),
        ("Delta($close, 3)", 3, 0),
        ("Delta($close, -3)", 0, 3),
        ("If($close > Ref($open, 2), $high, Ref($low, -4))", 2, 4),
        ("Mean($close, 0)", None, 0),
        ("Ref($close, 0)", None, 0),
        ("EMA($close, 5)", None, 0),
        ("EMA(Ref($close, -2), 5)", None, 2),
        ("Mask(Ref($close, 7), SH000001)", 7, 0),
    ],
)
def test_look_back_and_look_ahead_are_derived(text: str, back: int | None, ahead: int) -> None:
    assert (look_back(parse(text)), look_ahead(parse(text))) == (back, ahead)


def test_the_known_factors_read_at_most_sixty_times_back_and_none_ahead() -> None:
    for text in {**ALPHA158, **ALPHA360}.values():
        back = look_back(parse(text))
        assert back is not None
        assert back <= 60
        assert look_ahead(parse(text)) == 0


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw an expression of two or three operators with bounded windows."""
    text = draw(st.sampled_from(["$close", "$tied", "$flat", "$volume/Ref($volume, 1)", "($close > $open)"]))
    for _ in range(draw(st.integers(1, 2))):
        window = draw(st.integers(4, 12))
        kind = draw(st.sampled_from([*WINDOWED, "Quantile", "Corr", "Cov", "Ref", "Delta", "Sub"]))
        if kind == "Quantile":
            text = f"Quantile({text}, {window}, 0.3)"
        elif kind in ("Corr", "Cov"):
            text = f"{kind}({text}, $open, {window})"
        elif kind in ("Ref", "Delta"):
            text = f"{kind}({text}, {draw(st.integers(-6, 6).filter(bool))})"
        elif kind == "Sub":
            text = f"({text}*1.5 - Ref($high, {window}))"
        else:
            text = f"{kind}({text}, {window})"
    return text


@settings(derandomize=True, deadline=None, max_examples=150)
@given(text=texts(), seed=st.integers(0, 1000), junk=st.sampled_from([1.0, 1e30, -1e-30, np.inf, np.nan]))
def test_a_value_depends_on_the_times_it_reads_and_on_no_others(text: str, seed: int, junk: float) -> None:
    """Change everything outside [t − look-back, t + look-ahead], even to infinity: the value at t keeps its bits."""
    fields = random_fields(seed, times=60, instruments=2)
    back, ahead = look_back(parse(text)), look_ahead(parse(text))
    assert back is not None
    at = 40
    changed = {name: values.copy() for name, values in fields.items()}
    for values in changed.values():
        values[1 : at - back] = junk  # the first time stays: it says when the instrument was listed
        values[at + ahead + 1 :] = junk
    for values in (fields["close"], changed["close"]):
        values[0] = 1.0
    before = compute_expression(make_panel(fields), text)
    after = compute_expression(make_panel(changed), text)
    np.testing.assert_array_equal(before[at], after[at])


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    operator=st.sampled_from(["EMA({}, 5)", "EMA({}, 0)", "EMA({}, 0.2)", "Mean({}, 0)", "Std({}, 0)", "Rank({}, 0)"])
)
def test_what_reads_the_whole_past_still_reads_no_future(operator: str) -> None:
    fields = random_fields(7, times=60, instruments=2)
    changed = {name: values.copy() for name, values in fields.items()}
    for values in changed.values():
        values[41:] = np.inf
    text = operator.format("$close")
    before, after = compute_expression(make_panel(fields), text), compute_expression(make_panel(changed), text)
    np.testing.assert_array_equal(before[:41], after[:41])


@pytest.mark.parametrize("operator", WINDOWED)
def test_a_huge_value_long_ago_leaves_no_trace(operator: str) -> None:
    """Running sums would keep the rounding error of 1e30 forever; qlib's regressions and pandas' sums do."""
    fields = random_fields(8, times=80, instruments=1, gaps=0.0)
    spoiled = {name: values.copy() for name, values in fields.items()}
    spoiled["close"][10] = 1e30
    text = f"{operator}($close, 10)"
    clean, dirty = compute_expression(make_panel(fields), text), compute_expression(make_panel(spoiled), text)
    np.testing.assert_array_equal(clean[20:], dirty[20:])


def test_equal_windows_give_equal_bits_wherever_they_lie() -> None:
    fields = random_fields(9, times=80, instruments=1, gaps=0.0)
    later = {name: values[13:] for name, values in fields.items()}
    for operator in WINDOWED:
        text = f"{operator}($close, 10)"
        whole, part = compute_expression(make_panel(fields), text), compute_expression(make_panel(later), text)
        np.testing.assert_array_equal(whole[13 + 10 :], part[10:])

"""The label: any horizon, and a look-ahead that is derived from the expression."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.features.engine import compute_expression
from harness.features.feature_set import ForwardReturn
from tests.features.panels import make_panel, random_fields


@pytest.mark.parametrize("horizon", [1, 5, 20, 60])
def test_a_horizon_makes_the_expression_and_its_look_ahead(horizon: int) -> None:
    label = ForwardReturn(horizon)
    assert label.look_ahead == horizon + 1
    assert label.expression_text == f"Ref($close, -{horizon + 1})/Ref($close, -1) - 1"


def test_the_label_is_the_return_from_the_next_close() -> None:
    fields = random_fields(1, times=30, instruments=1, gaps=0.0)
    got = compute_expression(make_panel(fields), ForwardReturn(3).expression_text)
    close = fields["close"]
    np.testing.assert_array_equal(got[:26], close[4:] / close[1:-3] - 1)
    assert np.isnan(got[26:]).all()


def test_another_price_can_be_traded_at() -> None:
    assert ForwardReturn(2, price="$open").expression_text == "Ref($open, -3)/Ref($open, -1) - 1"


def test_an_own_expression_needs_no_horizon() -> None:
    label = ForwardReturn(None, expression="Ref($vwap, -11)/Ref($vwap, -1) - 1")
    assert label.look_ahead == 11


def test_an_own_expression_may_repeat_its_horizon_but_not_contradict_it() -> None:
    assert ForwardReturn(10, expression="Ref($vwap, -11)/Ref($vwap, -1) - 1").look_ahead == 11
    with pytest.raises(ConfigError) as caught:
        ForwardReturn(20, expression="Ref($vwap, -11)/Ref($vwap, -1) - 1")
    assert "horizon 20" in str(caught.value.got)
    assert "looks 11 ahead" in str(caught.value.got)
    assert "horizon: 10" in str(caught.value.expected)


def test_an_impossible_label_is_refused() -> None:
    with pytest.raises(ConfigError, match="≥ 1"):
        ForwardReturn(0)
    with pytest.raises(ConfigError, match="a horizon or an expression"):
        ForwardReturn(None)
    with pytest.raises(ConfigError, match="does not look ahead"):
        ForwardReturn(None, expression="$close/Ref($close, 1)")
    with pytest.raises(ConfigError, match="Unknown operator"):
        ForwardReturn(None, expression="Reff($close, -1)")

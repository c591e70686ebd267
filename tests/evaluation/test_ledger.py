"""What is written of orders, holdings and costs adds up to the account, and says how large it could have been."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import compose_config
from harness.errors import ConfigError, DataError
from harness.evaluation.portfolio.backtest import PortfolioResult, backtest
from harness.evaluation.portfolio.costs import (
    CostModel,
    FixedCost,
    PricedOrder,
    ProportionalCost,
    SquareRootImpact,
)
from harness.evaluation.portfolio.ledger import ORDERS, POSITIONS, TradeSummary
from harness.evaluation.portfolio.target_weights import LongShort, ScoreWeighted
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from tests.evaluation.test_portfolio import START, TIMES, calm, market, scores
from tests.evaluation.test_portfolio_rules import odd_market, panel_of, scored
from tests.evaluation.test_strategies import FREE, any_strategy, seeds

models = st.lists(
    st.one_of(
        st.builds(FixedCost, st.floats(0, 50)),
        st.builds(ProportionalCost, st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0, 20)),
        st.builds(SquareRootImpact, st.floats(0, 5)),
    ),
    max_size=3,
).map(tuple)


def followed(seed: int, strategy: TopkDropout | LongShort | ScoreWeighted) -> PortfolioResult:
    panel = market(seed)
    volume = np.random.default_rng(seed).lognormal(10.0, 1.0, panel.fields["close"].shape).astype(np.float32)
    panel = replace(panel, fields={**panel.fields, "volume": volume})
    return backtest(panel, scores(panel, seed), strategy)


def tables(result: PortfolioResult) -> tuple[pd.DataFrame, pd.DataFrame]:
    return result.ledger.orders().to_pandas(), result.ledger.positions().to_pandas()


@calm
@given(seeds, any_strategy, models)
def test_orders_and_positions_add_up_to_the_account(seed, strategy, costs):
    strategy = replace(strategy, costs=costs)
    result = followed(seed, strategy)
    orders, positions = tables(result)
    times = result.ledger.market.times
    worth = positions.groupby("datetime")["value"].sum().reindex(times, fill_value=0.0).to_numpy()
    np.testing.assert_allclose(result.cash + worth, result.value, rtol=1e-9, atol=1e-6)
    before = np.append(strategy.account, result.value[:-1])
    by_time = orders.groupby("datetime")[["value", "cost"]].sum().reindex(times, fill_value=0.0)
    unit = 1e-9 * strategy.account
    np.testing.assert_allclose(by_time["value"], result.turnover * before, rtol=1e-9, atol=unit)
    if strategy.borrow_fee is None:  # which is paid for holdings, not for orders
        np.testing.assert_allclose(by_time["cost"], result.cost * before, rtol=1e-9, atol=unit)
        assert (result.cash >= 0).all()
    assert (orders["cost"] >= 0).all()
    assert (orders["signal"] < orders["datetime"]).all()
    assert set(orders["outcome"]) <= {"filled", "refused", "unfilled"}
    assert ((orders["outcome"] == "filled") == (orders["shares"] > 0)).all()


@pytest.mark.parametrize("seed", range(10))
def test_what_is_written_down_stands_among_the_positions_with_its_lower_value(seed):
    panel, score, config = odd_market(seed)
    result = backtest(panel, scored(panel, score), replace(config, delisted_after=1))
    _, positions = tables(result)
    worth = positions.groupby("datetime")["value"].sum().reindex(result.ledger.market.times, fill_value=0.0)
    np.testing.assert_allclose(result.cash + worth.to_numpy(), result.value, rtol=1e-9, atol=1e-6)
    assert any("written down" in note for note in result.notes) == bool(positions["written_down"].any())


def test_a_refused_sale_and_a_refused_purchase_are_entered():
    close = np.full((8, 3), 10.0)
    close[2, 0], close[5:, 1] = np.nan, np.nan
    score = np.tile([3.0, 2.0, 1.0], (8, 1))
    score[4:, 2] = 9.0
    config = TopkDropout(topk=2, n_drop=1, **{**FREE, "limit_threshold": None})
    orders, _ = tables(backtest(panel_of(close), scored(panel_of(close), score), config))
    refused = orders[orders["outcome"] == "refused"]
    assert refused.iloc[0][["instrument", "side"]].tolist() == ["S0", "buy"]
    assert refused.iloc[1][["instrument", "side"]].tolist() == ["S1", "sell"]
    assert refused["price"].isna().all()
    assert (refused["value"].isna() | (refused["value"] == 0)).all()


class TestCosts:
    ORDER = PricedOrder(value=1e6, is_purchase=True, daily_value=1e8, volatility=0.02)

    def test_by_hand(self):
        assert FixedCost(7.0).cost(self.ORDER) == 7.0
        taxed = ProportionalCost(purchase=0.001, sale=0.002, least=5.0)
        assert taxed.cost(self.ORDER) == 1000.0
        assert taxed.cost(replace(self.ORDER, is_purchase=False)) == 2000.0
        assert taxed.cost(replace(self.ORDER, value=1.0)) == 5.0
        assert SquareRootImpact(0.5).cost(self.ORDER) == pytest.approx(0.5 * 0.02 * 0.1 * 1e6)

    def test_impact_without_volume_or_volatility_is_nothing(self):
        for daily_value, volatility in ((math.nan, 0.02), (0.0, 0.02), (1e8, math.nan)):
            order = replace(self.ORDER, daily_value=daily_value, volatility=volatility)
            assert SquareRootImpact().cost(order) == 0.0

    @given(st.floats(1, 1e9), st.floats(1, 1e9), models)
    def test_a_larger_order_never_costs_less_and_none_costs_less_than_nothing(self, one, other, costs):
        for model in costs:
            assert isinstance(model, CostModel)
            low, high = (model.cost(replace(self.ORDER, value=v)) for v in sorted((one, other)))
            assert 0.0 <= low <= high

    def test_volume_and_volatility_are_those_of_the_twenty_periods_up_to_the_signal(self):
        panel = market(4)
        volume = np.random.default_rng(4).lognormal(10.0, 1.0, panel.fields["close"].shape).astype(np.float32)
        volume[7] = np.nan
        panel = replace(panel, fields={**panel.fields, "volume": volume})
        traded = backtest(panel, scores(panel, 4), TopkDropout(topk=4, n_drop=2, benchmark="cash"))
        known, s, column = traded.ledger.market, 25, 3
        close = panel.fields["close"][START + s - 20 : START + s, column].astype(np.float64)
        value = close * volume[START + s - 20 : START + s, column]
        found = known.daily_value(np.array([s]), np.array([column]))[0]
        assert found == pytest.approx(np.nanmean(value))
        prices = close[~np.isnan(close)]
        assert known.volatility(s, column) == pytest.approx(np.std(np.diff(np.log(prices)), ddof=1))
        assert np.isfinite(known.daily_value(np.array([0]), np.array([column]))[0])

    def test_they_come_on_top_of_the_rates(self):
        plain = TopkDropout(topk=4, n_drop=1, benchmark="cash", trade_unit=None, limit_threshold=None, account=1e6)
        bare, more = followed(1, plain), followed(1, replace(plain, costs=(FixedCost(100.0),)))
        orders = tables(more)[0]
        filled = orders[orders["outcome"] == "filled"]
        rate = np.where(filled["side"] == "buy", plain.open_cost, plain.close_cost)
        np.testing.assert_allclose(filled["cost"], np.maximum(filled["value"] * rate, plain.min_cost) + 100.0)
        assert more.value[-1] < bare.value[-1]

    def test_an_order_is_made_smaller_until_the_cash_pays_its_costs(self):
        costs = (ProportionalCost(purchase=0.25),)
        panel = panel_of(np.full((4, 2), 10.0))
        config = TopkDropout(topk=1, n_drop=0, risk_degree=1.0, costs=costs, **FREE)
        result = backtest(panel, scored(panel, np.tile([2.0, 1.0], (4, 1))), config)
        assert result.shares[1, 0] == pytest.approx(80.0)
        assert 0.0 <= result.cash[1] < 1e-6

    def test_orders_without_a_volume_before_them_are_counted(self):
        panel = panel_of(np.full((6, 2), 10.0), volume=np.full((6, 2), 5.0))
        config = TopkDropout(topk=1, n_drop=0, costs=(SquareRootImpact(),), **FREE)
        notes = backtest(panel, scored(panel, np.tile([2.0, 1.0], (6, 1))), config).notes
        assert any(note.startswith("1 order(s) had no volume or no volatility") for note in notes)

    def test_a_panel_without_volume_is_refused(self):
        config = TopkDropout(topk=4, n_drop=1, costs=(SquareRootImpact(),), benchmark="cash", trade_unit=None)
        panel = market(0)
        with pytest.raises(ConfigError, match="follows from volumes"):
            backtest(panel, scores(panel, 0), config)

    def test_a_model_of_the_users_own_is_one_line_of_configuration(self):
        fixed = "{_target_: harness.portfolio.FixedCost,amount: 2}"
        given = f"[{{_target_: tests.evaluation.test_ledger.Doubled, rate: 0.01}},{fixed}]"
        found = compose_config(["evaluation=portfolio", f"evaluation.portfolio.costs={given}"]).evaluation.portfolio
        assert found is not None
        assert found.trading.costs == (Doubled(0.01), FixedCost(2.0))
        with pytest.raises(ConfigError, match="amount"):
            compose_config(["evaluation=portfolio", f"evaluation.portfolio.costs=[{fixed.replace('2', '-2')}]"])

    def test_a_cost_below_nothing_is_refused_with_its_class(self):
        config = TopkDropout(topk=4, n_drop=1, costs=(Doubled(-1.0),), benchmark="cash", trade_unit=None)
        with pytest.raises(DataError, match="negative") as caught:
            followed(0, config)
        assert "Doubled.cost" in str(caught.value)


@dataclass(frozen=True)
class Doubled:
    rate: float
    needs_volume: ClassVar[bool] = False

    def cost(self, order: PricedOrder) -> float:
        return 2.0 * self.rate * order.value


def test_the_summary_counts_and_scales_the_account(tmp_path: Path):
    result = followed(3, TopkDropout(topk=4, n_drop=1, benchmark="cash", trade_unit=None, account=1e5))
    result.ledger.write(tmp_path)
    orders, positions = tables(result)
    pd.testing.assert_frame_equal(pq.read_table(tmp_path / ORDERS).to_pandas(), orders)
    pd.testing.assert_frame_equal(pq.read_table(tmp_path / POSITIONS).to_pandas(), positions)
    found = TradeSummary.read(tmp_path, 1e5)
    assert found is not None
    filled = orders[orders["outcome"] == "filled"]
    share = filled["value"] / filled["daily_value"]
    assert (found.orders, found.refused) == (len(orders), int((orders["outcome"] == "refused").sum()))
    assert found.largest == pytest.approx(share.max())
    assert found.capacity == pytest.approx(1e5 * 0.1 / np.percentile(share, 95))
    assert found.gross == found.net == pytest.approx(positions.groupby("datetime")["weight"].sum().mean())
    assert found.holdings == pytest.approx(positions.groupby("datetime").size().mean())
    again = tmp_path / "again"
    again.mkdir()
    result.ledger.write(again)
    assert (again / ORDERS).read_bytes() == (tmp_path / ORDERS).read_bytes()
    assert TradeSummary.read(tmp_path / "nowhere", 1e5) is None


def test_a_portfolio_that_never_trades_has_empty_tables_and_no_capacity(tmp_path: Path):
    panel = panel_of(np.full((TIMES, 3), np.nan))
    result = backtest(panel, scored(panel, np.full((TIMES, 3), np.nan)), TopkDropout(topk=1, n_drop=0, **FREE))
    result.ledger.write(tmp_path)
    found = TradeSummary.read(tmp_path, 1.0)
    assert found == TradeSummary(0, 0, 0, None, None, None, None, None, None, None)

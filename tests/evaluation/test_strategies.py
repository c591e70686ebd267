"""Any strategy: its account adds up, it orders by what it knew, and neither unit nor order of the scores matters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import compose_config
from harness.config.instantiate import build
from harness.data.panel import Panel
from harness.errors import ConfigError, DataError
from harness.evaluation.portfolio.backtest import PortfolioResult, backtest
from harness.evaluation.portfolio.market import Market
from harness.evaluation.portfolio.strategy import Decision, Orders, Strategy, Trading
from harness.evaluation.portfolio.target_weights import LongShort, ScoreWeighted
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions
from harness.store.records import describe
from tests.evaluation.test_portfolio import NAMES, START, TIMES, calm, last_known, market, scores
from tests.evaluation.test_portfolio_rules import panel_of, scored

FREE: dict[str, Any] = {
    **{"limit_threshold": None, "trade_unit": None, "open_cost": 0.0, "close_cost": 0.0, "min_cost": 0.0},
    **{"benchmark": "cash", "account": 1000.0, "delisted_after": 0},
}
RULES = {
    "limit_threshold": st.sampled_from([None, 0.03]),
    "trade_unit": st.sampled_from([None, 1, 100]),
    "min_cost": st.sampled_from([0.0, 5.0]),
    "account": st.sampled_from([1e5, 1e7]),
    "deal_price": st.sampled_from(["close", "open"]),
    "delisted_after": st.just(0),
}
turnovers = st.sampled_from([None, 0.05, 0.5])
any_strategy = st.one_of(
    st.builds(TopkDropout, topk=st.integers(2, 8), n_drop=st.integers(0, 2), **RULES),
    st.builds(LongShort, quantile=st.sampled_from([0.1, 0.3, 0.5]), turnover=turnovers, **RULES),
    st.builds(ScoreWeighted, exposure=st.sampled_from([0.5, 0.95]), turnover=turnovers, **RULES),
)
seeds = st.integers(0, 10_000)


def followed(seed: int, strategy: Strategy) -> tuple[Panel, PortfolioResult]:
    panel = market(seed)
    return panel, backtest(panel, scores(panel, seed), strategy)


class TestEveryStrategy:
    @calm
    @given(seeds, any_strategy)
    def test_cash_and_holdings_add_up_to_the_value_and_costs_are_never_negative(self, seed, strategy):
        panel, result = followed(seed, strategy)
        price = np.nan_to_num(last_known(panel.fields["close"])[START:])
        worth = (result.shares * price).sum(axis=1)
        np.testing.assert_allclose(result.value, result.cash + worth, rtol=1e-9, atol=1e-6)
        assert (result.cost >= 0).all()
        growth = np.cumprod(1.0 + result.returns - result.cost)
        np.testing.assert_allclose(result.value, strategy.account * growth, rtol=1e-9)

    @calm
    @given(seeds, any_strategy)
    def test_cash_changes_by_what_is_traded_paid_and_borrowed(self, seed, strategy):
        panel, result = followed(seed, strategy)
        deal = np.nan_to_num(panel.fields[strategy.deal_price][START:].astype(np.float64))
        traded = np.diff(result.shares, axis=0, prepend=0.0) * deal
        before = np.append(strategy.account, result.value[:-1])
        change = np.diff(result.cash, prepend=strategy.account)
        unit = 1e-9 * strategy.account
        np.testing.assert_allclose(change, -traded.sum(axis=1) - result.cost * before, rtol=1e-9, atol=unit)
        np.testing.assert_allclose(result.turnover * before, np.abs(traded).sum(axis=1), rtol=1e-9, atol=unit)

    @calm
    @given(seeds, any_strategy, st.integers(START, TIMES - 2))
    def test_no_order_is_made_before_its_signal_and_none_knows_a_later_price(self, seed, strategy, cut):
        panel, predictions = market(seed), scores(market(seed), seed)
        rng = np.random.default_rng(seed + 7)
        fields = {name: values.copy() for name, values in panel.fields.items()}
        for values in fields.values():
            values[cut + 1 :] = rng.uniform(1.0, 99.0, values[cut + 1 :].shape)
        other = replace(predictions, score=predictions.score.copy())
        # A score at `cut` is followed at the next time at the earliest.
        other.score[predictions.row_times >= cut] = rng.random(int((predictions.row_times >= cut).sum()))
        clean, poisoned = (
            backtest(panel, predictions, strategy),
            backtest(replace(panel, fields=fields), other, strategy),
        )
        known = cut + 1 - START
        for name in ("returns", "cost", "turnover", "value", "cash", "shares"):
            np.testing.assert_array_equal(getattr(clean, name)[:known], getattr(poisoned, name)[:known])
        assert not clean.shares[0].any()

    @calm
    @given(seeds, any_strategy)
    def test_the_order_of_the_instruments_does_not_matter(self, seed, strategy):
        panel = market(seed, suspended=0.0)  # of two without a score the first would be sold
        result = backtest(panel, scores(panel, seed), replace(strategy, trade_unit=None))
        order = np.random.default_rng(seed).permutation(NAMES)
        moved = replace(panel, fields={k: np.ascontiguousarray(v[:, order]) for k, v in panel.fields.items()})
        predictions, table = scores(panel, seed), np.full((TIMES - START, NAMES), np.nan, dtype=np.float32)
        table[predictions.row_times - START, predictions.codes] = predictions.score
        other = backtest(
            moved, scores(moved, seed, np.ascontiguousarray(table[:, order])), replace(strategy, trade_unit=None)
        )
        np.testing.assert_allclose(other.shares, result.shares[:, order], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(other.value, result.value, rtol=1e-9)

    @pytest.mark.parametrize("strategy", [LongShort(), ScoreWeighted(), TopkDropout(topk=4, n_drop=1)], ids=repr)
    def test_another_unit_of_the_scores_changes_nothing(self, strategy):
        panel, result = followed(3, strategy)
        predictions = scores(panel, 3)
        stretched = replace(predictions, score=predictions.score * 8 - 4)
        np.testing.assert_allclose(backtest(panel, stretched, strategy).value, result.value, rtol=1e-6)


class TestLongShort:
    CLOSE = np.array([[10.0, 20.0, 40.0, 50.0]] * 3 + [[11.0, 20.0, 40.0, 45.0]] + [[11.0, 20.0, 40.0, 45.0]] * 2)
    SCORE = np.array([[4.0, 3.0, 2.0, 1.0]] * 6)

    def test_by_hand_on_the_days_that_matter(self):
        panel = panel_of(self.CLOSE)  # business days from a Wednesday: times 1 … 5 are Thu Fri Mon Tue Wed
        strategy = LongShort(quantile=0.25, exposure=0.5, borrow_fee=0.365, **FREE)
        result = backtest(panel, scored(panel, self.SCORE), strategy)
        assert result.shares[0].tolist() == [0, 0, 0, 0]
        assert result.shares[1].tolist() == [50, 0, 0, -10]  # half of 1000 at 10, and at 50
        assert result.cash[1] == 1000.0
        # Three days over the weekend: 500 owed × 0.1 % × 3; then 50 × 1 gained and 10 × 5 gained.
        assert result.cost[2] * 1000.0 == pytest.approx(1.5)
        assert result.value[2] == pytest.approx(1000.0 - 1.5 + 50.0 + 50.0)
        value = result.value[2] - 0.45  # a day for 450 owed
        # Orders are sized by the value of the signal's close.
        assert result.shares[3] == pytest.approx([result.value[2] / 2 / 11, 0, 0, -result.value[2] / 2 / 45])
        assert result.value[3] == pytest.approx(value)

    def test_both_sides_are_worth_the_same_at_the_prices_of_the_signal(self):
        panel = market(1, suspended=0.0)
        result = backtest(panel, scores(panel, 1), LongShort(**{**FREE, "account": 1e6}))
        worth = result.shares[1:] * panel.fields["close"][START:-1]
        np.testing.assert_allclose(worth.clip(0).sum(axis=1), result.value[:-1] / 2)
        np.testing.assert_allclose(worth.sum(axis=1), 0.0, atol=1e-6)

    def test_without_a_fee_for_borrowing_there_is_no_such_strategy(self):
        with pytest.raises(ConfigError, match="borrow_fee"):
            compose_config(["evaluation=long_short", "evaluation.portfolio.borrow_fee=null"])

    def test_equal_scores_are_no_ranking(self):
        panel = panel_of(self.CLOSE)
        result = backtest(panel, scored(panel, np.ones((6, 4))), LongShort(**FREE))
        assert not result.shares.any()
        assert not backtest(panel, scored(panel, np.ones((6, 4))), ScoreWeighted(**FREE)).shares.any()

    def test_what_is_owed_and_vanishes_is_owed_in_full_and_bought_back_when_it_trades_again(self):
        close, score = np.vstack([self.CLOSE[:3]] * 5), np.vstack([self.SCORE[:3]] * 5)
        close[5:11, 3], score[5:11, 3] = np.nan, np.nan
        strategy = LongShort(quantile=0.25, borrow_fee=0.0, **{**FREE, "delisted_after": 3})
        result = backtest(panel_of(close), scored(panel_of(close), score), strategy)
        assert result.shares[6, 3] == 0
        np.testing.assert_allclose(result.value, 1000.0)
        assert "1 of them traded again" in " ".join(result.notes)

    def test_an_account_that_owes_more_than_it_has_orders_nothing_more(self):
        close = np.vstack([self.CLOSE[:3], np.tile([10.0, 20.0, 40.0, 5000.0], (4, 1))])
        result = backtest(
            panel_of(close), scored(panel_of(close), np.vstack([self.SCORE, self.SCORE[:1]])), LongShort(**FREE)
        )
        assert result.value[2] < 0
        np.testing.assert_array_equal(result.shares[3:], result.shares[2:-1])
        assert np.isnan(result.returns[3:]).all()


class TestTurnover:
    @calm
    @given(seeds, st.sampled_from([0.02, 0.1]), st.booleans())
    def test_orders_of_a_period_stay_below_the_limit(self, seed, limit, shorts):
        kind = LongShort if shorts else ScoreWeighted
        panel = market(seed, suspended=0.0, jumps=0.0)
        result = backtest(panel, scores(panel, seed), kind(turnover=limit, **{**FREE, "account": 1e6}))
        close = panel.fields["close"].astype(np.float64)
        change = np.abs(np.diff(result.shares, axis=0))
        at_signal = (change * close[START:-1]).sum(axis=1)
        assert (at_signal <= limit * result.value[:-1] * (1 + 1e-9)).all()
        assert (at_signal[1:10] > 0).all()

    def test_a_weight_follows_the_distance_to_the_mean(self):
        panel = panel_of(np.full((4, 4), 10.0))
        result = backtest(
            panel, scored(panel, np.tile([6.0, 4.0, 1.0, 1.0], (4, 1))), ScoreWeighted(turnover=None, **FREE)
        )
        np.testing.assert_allclose(result.shares[-1], [71.25, 23.75, 0.0, 0.0])  # 3 and 1 above the mean, of 95


@dataclass(frozen=True)
class Spy(Trading):
    """Notes what it is given, and orders what it is told."""

    told: Any = field(default=None, metadata={"unrecorded": True})
    seen: list[Decision] = field(default_factory=list, metadata={"unrecorded": True})

    def orders(self, decision: Decision) -> Orders:
        self.seen.append(decision)
        if self.told is None:
            return Orders(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
        found: Orders = self.told(decision)
        return found


def asked(panel: Panel, predictions: Predictions, told: Any = None, **rules: Any) -> tuple[Spy, PortfolioResult]:
    spy = Spy(told=told, **{**FREE, **rules})
    return spy, backtest(panel, predictions, spy)


class TestDecision:
    def test_everything_in_it_is_a_copy_that_ends_at_the_decision(self):
        panel = market(0)
        predictions = scores(panel, 0)
        spy, _ = asked(panel, predictions)
        assert len(spy.seen) == TIMES - START - 1
        for at, decision in enumerate(spy.seen):
            assert decision.time == panel.calendar.times[START + at]
            rows = predictions.row_times == START + at
            np.testing.assert_array_equal(decision.score[predictions.codes[rows]], predictions.score[rows])
            past = decision.history("close", 10**6)
            np.testing.assert_array_equal(past, panel.fields["close"][: START + at + 1])
            np.testing.assert_array_equal(decision.price, last_known(panel.fields["close"])[START + at])
            for values in (past, decision.score, decision.shares, decision.held_for, decision.price, decision.refused):
                assert values.base is None

    def test_writing_into_it_changes_nothing(self):
        def spoil(decision: Decision) -> Orders:
            wanted = decision.towards(np.full(NAMES, 1.0 / NAMES))
            for values in (decision.score, decision.shares, decision.price, decision.history("close", 3)):
                values[:] = -1.0
            return wanted

        panel = market(2)
        predictions = scores(panel, 2)
        spoilt, honest = (
            asked(panel, predictions, told)[1]
            for told in (spoil, lambda decision: decision.towards(np.full(NAMES, 1.0 / NAMES)))
        )
        np.testing.assert_array_equal(spoilt.value, honest.value)

    def test_a_field_that_the_panel_has_not_is_named(self):
        panel = market(0)
        with pytest.raises(ConfigError, match="asks for a field") as caught:
            asked(panel, scores(panel, 0), lambda decision: decision.history("vwap", 3))
        assert "close" in str(caught.value)


class TestOrders:
    CLOSE = np.full((6, 3), 10.0)

    def asked(self, told: Any, close: Any = None, **rules: Any) -> tuple[Spy, PortfolioResult]:
        panel = panel_of(self.CLOSE if close is None else close, factor=np.ones((6, 3)))
        return asked(panel, scored(panel, np.tile([3.0, 2.0, 1.0], (6, 1))), told, **rules)

    def test_a_refused_sale_is_told_and_the_strategy_asked_again(self):
        close = self.CLOSE.copy()
        close[3, 0] = np.nan

        def told(decision: Decision) -> Orders:
            if not decision.shares.any():
                return Orders(np.array([], dtype=np.int64), np.array([0, 1]))
            free = np.flatnonzero((decision.shares > 0) & ~decision.refused)
            return Orders(free[:1], np.array([], dtype=np.int64))

        spy, result = self.asked(told, close)
        assert [d.refused.tolist() for d in spy.seen[1:3]] == [[False] * 3, [True, False, False]]
        assert (result.shares[2] > 0).tolist() == [True, False, False]

    def test_sales_end_at_what_is_held_where_nothing_can_be_borrowed(self):
        told = lambda d: Orders(np.array([0]), np.array([1]), shares=np.array([5.0, 10.0, 0.0]))  # noqa: E731
        _, free = self.asked(told)
        assert free.shares[-1].tolist() == [0.0, 40.0, 0.0]
        _, borrowing = self.asked(told, borrow_fee=0.0)
        assert borrowing.shares[-1].tolist() == [-20.0, 40.0, 0.0]

    def test_amounts_are_whole_lots_unless_they_end_a_holding(self):
        given = iter([[0.0, 25.0], [7.0, 0.0], [18.0, 0.0], [0.0, 0.0]])

        def told(decision: Decision) -> Orders:
            sold, bought = next(given)
            sell, buy = (np.array([0] if v else [], dtype=np.int64) for v in (sold, bought))
            return Orders(sell, buy, shares=np.array([sold + bought, 0.0, 0.0]))

        _, result = self.asked(told, trade_unit=4)
        assert result.shares[:, 0].tolist() == [0.0, 24.0, 20.0, 4.0, 4.0]

    @pytest.mark.parametrize(
        ("told", "message"),
        [
            (lambda d: [1, 2], "A strategy returns orders"),
            (lambda d: Orders(np.array([0]), np.array([0])), "at most once"),
            (lambda d: Orders(np.array([3]), np.array([0])), "at most once"),
            (lambda d: Orders(np.array([0]), np.array([-1])), "at most once"),
            (lambda d: Orders(np.array([0]), np.array([1]), shares=np.array([1.0, -1.0, 0.0])), "number of shares"),
            (lambda d: Orders(np.array([0]), np.array([1]), shares=np.array([1.0, np.nan, 0.0])), "number of shares"),
            (lambda d: Orders(np.array([0]), np.array([1]), shares=np.array([1.0])), "number of shares"),
        ],
    )
    def test_orders_that_cannot_be_are_refused_with_the_strategys_name(self, told, message):
        with pytest.raises(DataError, match=message) as caught:
            self.asked(told)
        assert "Spy.orders" in str(caught.value)

    def test_shares_that_are_bought_in_order_until_the_cash_is_spent(self):
        told = lambda d: Orders(np.array([], dtype=np.int64), np.array([2, 0, 1]), shares=np.full(3, 45.0))  # noqa: E731
        _, result = self.asked(told)
        assert result.shares[1].tolist() == [45.0, 10.0, 45.0]
        assert (result.cash >= 0).all()


class TestConfiguration:
    @pytest.mark.parametrize("name", ["long_short", "score_weighted"])
    def test_a_preset_is_the_class_with_rules_that_need_no_index_and_no_lots(self, name):
        found = compose_config([f"evaluation={name}"]).evaluation.portfolio
        assert found is not None
        trading = found.trading
        assert (trading.limit_threshold, trading.trade_unit, trading.account) == (None, None, 1e7)

    def test_top_k_dropout_needs_no_target_and_takes_one(self):
        plain, named = (
            build({"topk": 3, "n_drop": 1, **target}, "evaluation.portfolio", TopkDropout | Strategy | None)
            for target in ({}, {"_target_": "harness.portfolio.TopkDropout"})
        )
        assert plain == named
        assert "borrow_fee" not in describe(plain)  # type: ignore[operator]

    def test_what_makes_no_orders_or_has_no_rules_is_refused(self):
        for target in ("harness.tracking.NoTracking", "tests.evaluation.test_strategies.Ruleless"):
            with pytest.raises(ConfigError, match="not a"):
                build({"_target_": target}, "evaluation.portfolio", TopkDropout | Strategy | None)


@dataclass(frozen=True)
class Ruleless:
    def orders(self, decision: Decision) -> Orders:
        return decision.towards(decision.score)


def test_the_market_knows_how_many_days_have_passed() -> None:
    panel = panel_of(np.full((6, 2), 10.0))
    assert Market(panel, 1, 6, Trading(**FREE)).days.tolist() == [1.0, 1.0, 3.0, 1.0, 1.0]

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel
from harness.errors import ConfigError, DataError
from harness.evaluation.formulas import risk_analysis
from harness.evaluation.portfolio.backtest import PortfolioResult, backtest
from harness.evaluation.portfolio.market import Market
from harness.evaluation.portfolio.topk_dropout import TopkDropout, choose
from harness.evaluation.predictions import Predictions

calm = settings(derandomize=True, deadline=None, max_examples=25)
TIMES, NAMES, START = 40, 12, 5

STRATEGY = TopkDropout(topk=4, n_drop=2, account=1e6, trade_unit=None)
SERIES = ("returns", "cost", "turnover", "benchmark", "value", "cash", "shares")


def market(seed: int, *, suspended: float = 0.05, jumps: float = 0.05) -> Panel:
    """A random market with suspensions, jumps beyond the price limit, and splits that change the factor."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 0.02, (TIMES, NAMES)) + (rng.random((TIMES, NAMES)) < jumps) * rng.choice([-0.2, 0.2])
    close = (20.0 * np.exp(np.cumsum(steps, axis=0))).astype(np.float32)
    factor = np.cumprod(np.where(rng.random((TIMES, NAMES)) < 0.02, 2.0, 1.0), axis=0).astype(np.float32)
    openings = (close * np.exp(rng.normal(0.0, 0.01, close.shape))).astype(np.float32)
    gone = rng.random(close.shape) < suspended
    for values in (close, factor, openings):
        values[gone] = np.nan
    index = (3000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, TIMES)))).astype(np.float32)
    return Panel(
        calendar=Calendar(np.datetime64("2020-01-01", "ns") + np.arange(TIMES) * np.timedelta64(1, "D")),
        instruments=tuple(f"S{i:02d}" for i in range(NAMES)),
        fields={"close": close, "open": openings, "factor": factor},
        membership=np.ones(close.shape, dtype=bool),
        benchmark=Benchmark("INDEX", index),
    )


def scores(panel: Panel, seed: int, table: npt.NDArray[np.float32] | None = None) -> Predictions:
    """Random scores of the traded instruments from START on, or those of a (times, names) table."""
    rng = np.random.default_rng(seed + 1000)
    size = TIMES - START
    table = rng.standard_normal((size, NAMES)).astype(np.float32) if table is None else table
    rows = panel.traded[START:] & ~np.isnan(table)
    times, codes = np.nonzero(rows)
    return Predictions(
        calendar=panel.calendar,
        instruments=panel.instruments,
        start=START,
        offsets=np.concatenate([[0], np.cumsum(rows.sum(axis=1))]).astype(np.int64),
        codes=codes.astype(np.int32),
        score=table[rows],
        label=np.zeros(times.size, dtype=np.float32),
        window_starts=np.array([START], dtype=np.int64),
    )


def followed(seed: int, config: TopkDropout) -> tuple[Panel, PortfolioResult]:
    panel = market(seed)
    return panel, backtest(panel, scores(panel, seed), config)


def last_known(close: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    known = close.astype(np.float64).copy()
    for t in range(1, known.shape[0]):
        known[t] = np.where(np.isnan(known[t]), known[t - 1], known[t])
    return known


seeds = st.integers(0, 10_000)
configs = st.builds(
    TopkDropout,
    topk=st.integers(2, 8),
    n_drop=st.integers(0, 2),
    risk_degree=st.sampled_from([0.5, 0.95, 1.0]),
    hold_thresh=st.integers(0, 4),
    account=st.sampled_from([2e3, 1e6]),
    deal_price=st.sampled_from(["close", "open"]),
    limit_threshold=st.sampled_from([None, 0.03, 0.095]),
    forbid_all_trade_at_limit=st.booleans(),
    min_cost=st.sampled_from([0.0, 5.0]),
    trade_unit=st.sampled_from([None, 1, 100]),
    benchmark=st.sampled_from(["index", "universe", "cash"]),
)


class TestAccount:
    @calm
    @given(seeds, configs)
    def test_cash_and_holdings_are_never_negative(self, seed, config):
        _, result = followed(seed, config)
        assert (result.cash >= 0).all()
        assert (result.shares >= 0).all()

    @calm
    @given(seeds, configs)
    def test_the_value_is_cash_plus_shares_at_their_last_close(self, seed, config):
        panel, result = followed(seed, config)
        price = np.nan_to_num(last_known(panel.fields["close"])[START:])
        np.testing.assert_allclose(result.value, result.cash + (result.shares * price).sum(axis=1), rtol=1e-12)

    @calm
    @given(seeds, configs)
    def test_cash_changes_by_what_was_traded_and_paid(self, seed, config):
        panel, result = followed(seed, config)
        deal = np.nan_to_num(panel.fields[config.deal_price][START:].astype(np.float64))
        spent = (np.diff(result.shares, axis=0, prepend=0.0) * deal).sum(axis=1)
        paid = result.cost * np.append(config.account, result.value[:-1])
        change = np.diff(result.cash, prepend=config.account)
        np.testing.assert_allclose(change, -spent - paid, rtol=1e-9, atol=1e-9 * config.account)

    @calm
    @given(seeds, configs)
    def test_returns_and_costs_account_for_every_change_of_value(self, seed, config):
        _, result = followed(seed, config)
        growth = np.cumprod(1.0 + result.returns - result.cost)
        np.testing.assert_allclose(result.value, config.account * growth, rtol=1e-10)

    @calm
    @given(seeds, configs)
    def test_turnover_is_the_value_of_the_shares_that_changed_hands(self, seed, config):
        panel, result = followed(seed, config)
        change = np.abs(np.diff(result.shares, axis=0, prepend=0.0))
        deal = np.nan_to_num(panel.fields[config.deal_price][START:].astype(np.float64))
        before = np.append(config.account, result.value[:-1])
        np.testing.assert_allclose(result.turnover, (change * deal).sum(axis=1) / before, rtol=1e-9, atol=1e-12)

    @calm
    @given(seeds, configs)
    def test_without_costs_nothing_is_paid(self, seed, config):
        _, result = followed(seed, replace(config, open_cost=0.0, close_cost=0.0, min_cost=0.0))
        assert not result.cost.any()
        np.testing.assert_array_equal(result.series["excess_return"], result.series["excess_return_without_cost"])

    def test_every_order_costs_at_least_the_minimum(self):
        config = replace(STRATEGY, account=1e4, min_cost=7.0)
        _, result = followed(3, config)
        orders = (np.diff(result.shares, axis=0, prepend=0.0) != 0).sum(axis=1)
        before = np.append(config.account, result.value[:-1])
        assert orders.sum() > 20
        np.testing.assert_allclose(result.cost * before, 7.0 * orders, rtol=1e-9)

    def test_the_first_time_has_no_signal_and_stays_in_cash(self):
        _, result = followed(0, STRATEGY)
        assert result.cash[0] == STRATEGY.account
        assert result.returns[0] == result.turnover[0] == 0.0


class TestExchange:
    @calm
    @given(seeds, configs)
    def test_a_suspended_instrument_is_not_traded(self, seed, config):
        panel, result = followed(seed, config)
        change = np.diff(result.shares, axis=0, prepend=0.0)
        assert not change[~panel.traded[START:]].any()

    @calm
    @given(seeds, configs)
    def test_an_instrument_at_its_limit_is_not_traded(self, seed, config):
        config = replace(config, limit_threshold=0.03)
        panel, result = followed(seed, config)
        known = last_known(panel.fields["close"])
        moved = known[START:] / known[START - 1 : -1] - 1.0
        change = np.diff(result.shares, axis=0, prepend=0.0)
        if config.forbid_all_trade_at_limit:
            assert not change[np.abs(moved) >= 0.03].any()
        assert not (change[moved >= 0.03] > 0).any()
        assert not (change[moved <= -0.03] < 0).any()

    def test_a_price_limit_is_read_from_the_field_change_where_there_is_one(self):
        panel = market(1, jumps=0.0)
        limited = np.full((TIMES, NAMES), 0.2, dtype=np.float32)
        panel = replace(panel, fields={**panel.fields, "change": limited})
        assert not backtest(panel, scores(panel, 1), STRATEGY).shares.any()

    def test_an_instrument_without_volume_is_suspended(self):
        panel = market(1)
        volume = np.ones((TIMES, NAMES), dtype=np.float32)
        volume[:, :6], volume[:, 6:9] = 0.0, np.nan
        panel = replace(panel, fields={**panel.fields, "volume": volume})
        held = np.asarray(backtest(panel, scores(panel, 1), STRATEGY).shares.any(axis=0))
        assert not held[:9].any()
        assert held[9:].all()

    @calm
    @given(seeds, st.sampled_from([1, 100]))
    def test_purchases_are_whole_lots_of_raw_shares(self, seed, unit):
        panel, result = followed(seed, replace(STRATEGY, trade_unit=unit))
        change = np.diff(result.shares, axis=0, prepend=0.0)
        raw = change * panel.fields["factor"][START:]
        lots = raw[change > 0] / unit
        assert lots.size
        np.testing.assert_allclose(lots, np.round(lots), atol=1e-6)

    def test_a_missing_deal_price_is_replaced_by_the_close(self):
        panel = market(2)
        openings = np.full((TIMES, NAMES), np.nan, dtype=np.float32)
        broken = replace(panel, fields={**panel.fields, "open": openings})
        at_close = backtest(panel, scores(panel, 2), STRATEGY)
        fallback = backtest(broken, scores(broken, 2), replace(STRATEGY, deal_price="open"))
        np.testing.assert_array_equal(at_close.value, fallback.value)


class TestStrategy:
    def test_it_buys_the_best_and_drops_the_worst(self):
        score = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3])
        held = np.array([False, False, True, True, False, False])
        sell, buy = choose(score, held, topk=2, n_drop=1)
        assert sell.tolist() == [3]
        assert buy.tolist() == [0]

    def test_it_does_not_sell_high_to_buy_low(self):
        score = np.array([0.9, 0.8, 0.1, 0.2])
        held = np.array([True, True, False, False])
        sell, buy = choose(score, held, topk=2, n_drop=1)
        assert sell.size == buy.size == 0

    def test_only_as_many_candidates_as_could_be_bought_are_ranked_with_the_holdings(self):
        # The candidate 0.2 is out of the comparison, so that 0.3 is the worst of those compared.
        score = np.array([0.5, 0.3, 0.4, 0.2])
        held = np.array([True, True, False, False])
        sell, buy = choose(score, held, topk=2, n_drop=1)
        assert sell.tolist() == [1]
        assert buy.tolist() == [2]

    def test_a_holding_without_a_score_is_dropped_first(self):
        score = np.array([np.nan, 0.1, 0.9])
        held = np.array([True, True, False])
        sell, _ = choose(score, held, topk=2, n_drop=1)
        assert sell.tolist() == [0]

    def test_no_dropout_never_sells(self):
        score = np.array([0.1, 0.2, 0.9])
        held = np.array([True, True, False])
        sell, buy = choose(score, held, topk=2, n_drop=0)
        assert sell.size == buy.size == 0

    def test_too_many_holdings_buy_nothing(self):
        score = np.linspace(0.0, 1.0, 10)
        held = np.arange(10) < 6
        sell, buy = choose(score, held, topk=3, n_drop=2)
        assert sell.tolist() == [0, 1]
        assert buy.size == 0

    @calm
    @given(seeds)
    def test_nothing_is_sold_before_the_holding_threshold(self, seed):
        _, result = followed(seed, replace(STRATEGY, hold_thresh=3))
        for column in result.shares.T > 0:
            runs = np.diff(np.flatnonzero(np.diff(np.append(np.append(False, column), False))))[::2]
            ended = runs if not column[-1] else runs[:-1]
            assert (ended >= 3).all()

    @calm
    @given(seeds)
    def test_no_more_than_n_drop_are_sold_at_a_time(self, seed):
        _, result = followed(seed, STRATEGY)
        held = result.shares > 0
        assert ((held[:-1] & ~held[1:]).sum(axis=1) <= STRATEGY.n_drop).all()

    def test_a_time_without_predictions_leaves_the_portfolio_alone(self):
        panel = market(4, suspended=0.0)
        table = np.random.default_rng(4).standard_normal((TIMES - START, NAMES)).astype(np.float32)
        table[10] = np.nan
        result = backtest(panel, scores(panel, 4, table), STRATEGY)
        np.testing.assert_array_equal(result.shares[11], result.shares[10])
        assert (result.shares[12] != result.shares[11]).any()


class TestLookAhead:
    @calm
    @given(seeds, configs, st.integers(START, TIMES - 2))
    def test_nothing_after_a_time_changes_the_results_up_to_it(self, seed, config, cut):
        panel = market(seed)
        predictions = scores(panel, seed)
        rng = np.random.default_rng(seed + 7)
        fields = {}
        for name, values in panel.fields.items():
            fields[name] = values.copy()
            fields[name][cut + 1 :] = rng.uniform(1.0, 99.0, values[cut + 1 :].shape)
        assert panel.benchmark is not None
        index = panel.benchmark.close.copy()
        index[cut + 1 :] = 1.0
        poisoned = replace(panel, fields=fields, benchmark=Benchmark("INDEX", index))
        other = replace(predictions, score=predictions.score.copy())
        other.score[predictions.row_times > cut] = 0.0
        clean, dirty = backtest(panel, predictions, config), backtest(poisoned, other, config)
        known = cut + 1 - START
        for name in SERIES:
            np.testing.assert_array_equal(getattr(clean, name)[:known], getattr(dirty, name)[:known])

    def test_a_signal_is_traded_one_time_later(self):
        panel = market(5, suspended=0.0, jumps=0.0)
        table = np.zeros((TIMES - START, NAMES), dtype=np.float32)
        table[:20, :4], table[20:, 8:] = 1.0, 1.0
        result = backtest(panel, scores(panel, 5, table), replace(STRATEGY, n_drop=4))
        held = result.shares > 0
        assert held[1:21, :4].all()
        assert held[21:, 8:].all()
        assert not held[20, 8:].any()


class TestInvariance:
    @calm
    @given(seeds, configs)
    def test_the_order_of_the_instruments_does_not_matter(self, seed, config):
        panel, result = followed(seed, config)
        order = np.random.default_rng(seed).permutation(NAMES)
        moved = replace(panel, fields={k: np.ascontiguousarray(v[:, order]) for k, v in panel.fields.items()})
        table = np.full((TIMES - START, NAMES), np.nan, dtype=np.float32)
        predictions = scores(panel, seed)
        table[predictions.row_times - START, predictions.codes] = predictions.score
        other = backtest(moved, scores(moved, seed, np.ascontiguousarray(table[:, order])), config)
        np.testing.assert_allclose(other.shares, result.shares[:, order], rtol=1e-9)
        np.testing.assert_allclose(other.value, result.value, rtol=1e-12)

    def test_scores_count_by_their_order_alone(self):
        panel, result = followed(6, STRATEGY)
        predictions = scores(panel, 6)
        stretched = replace(predictions, score=predictions.score * 8)
        np.testing.assert_array_equal(backtest(panel, stretched, STRATEGY).value, result.value)


class TestBenchmark:
    def test_the_index_return_is_its_change(self):
        panel, result = followed(0, STRATEGY)
        assert panel.benchmark is not None
        level = panel.benchmark.close.astype(np.float64)
        np.testing.assert_allclose(result.benchmark, level[START:] / level[START - 1 : -1] - 1.0, rtol=1e-12)

    def test_the_universe_return_is_the_mean_of_the_members_that_traded(self):
        panel = market(0)
        member = np.zeros((TIMES, NAMES), dtype=bool)
        member[:, :3] = True
        panel = replace(panel, membership=member)
        result = backtest(panel, scores(panel, 0), replace(STRATEGY, benchmark="universe"))
        known = last_known(panel.fields["close"])
        moved = np.where(panel.traded[START:], known[START:] / known[START - 1 : -1] - 1.0, np.nan)[:, :3]
        np.testing.assert_allclose(result.benchmark, np.nanmean(moved, axis=1), rtol=1e-9)

    def test_cash_earns_nothing(self):
        _, result = followed(0, replace(STRATEGY, benchmark="cash"))
        np.testing.assert_array_equal(result.series["excess_return_without_cost"], result.returns)

    def test_a_missing_index_is_refused(self):
        panel = replace(market(0), benchmark=None)
        with pytest.raises(ConfigError, match="no benchmark") as caught:
            backtest(panel, scores(panel, 0), STRATEGY)
        assert "universe" in str(caught.value)


class TestMistakes:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"topk": 0},
            {"n_drop": -1},
            {"topk": 3, "n_drop": 4},
            {"risk_degree": 0.0},
            {"risk_degree": 1.1},
            {"hold_thresh": -1},
            {"account": 0.0},
            {"limit_threshold": 0.0},
            {"open_cost": -0.1},
            {"close_cost": 1.0},
            {"min_cost": -5.0},
            {"trade_unit": 0},
        ],
    )
    def test_an_impossible_number_is_refused_by_name(self, wrong):
        with pytest.raises(ConfigError) as caught:
            TopkDropout(**wrong)
        assert list(wrong)[-1] in str(caught.value.where)

    def test_an_unknown_price_is_refused_with_a_guess(self):
        panel = market(0)
        with pytest.raises(ConfigError, match="no such price") as caught:
            backtest(panel, scores(panel, 0), replace(STRATEGY, deal_price="opne"))
        assert "did you mean `open`?" in str(caught.value)

    def test_lots_without_a_factor_are_refused(self):
        panel = market(0)
        panel = replace(panel, fields={"close": panel.fields["close"]})
        with pytest.raises(DataError, match="adjustment factor"):
            backtest(panel, scores(panel, 0), replace(STRATEGY, trade_unit=100))

    def test_a_missing_factor_is_named(self):
        panel = market(0, suspended=0.0)
        factor = panel.fields["factor"].copy()
        factor[START + 3, 7] = np.nan
        panel = replace(panel, fields={**panel.fields, "factor": factor})
        with pytest.raises(DataError, match="1 traded price") as caught:
            backtest(panel, scores(panel, 0), replace(STRATEGY, trade_unit=100))
        assert caught.value.where == "S07 at 2020-01-09"
        membership = panel.membership.copy()
        membership[:, 7] = False  # nobody can buy it
        others = replace(panel, membership=membership)
        assert Market(others, START, len(panel.calendar), replace(STRATEGY, trade_unit=100)).factor is not None

    def test_predictions_of_another_panel_are_refused(self):
        panel = market(0)
        other = replace(scores(panel, 0), instruments=tuple(f"T{i:02d}" for i in range(NAMES)))
        with pytest.raises(DataError, match="do not belong together"):
            backtest(panel, other, STRATEGY)


class TestRisk:
    RETURNS = np.array([0.10, -0.20, 0.05, -0.10, 0.30])

    def test_returns_add_up(self):
        risk = risk_analysis(self.RETURNS, periods=238)
        assert risk.mean == pytest.approx(0.03)
        assert risk.std == pytest.approx(np.std(self.RETURNS, ddof=1))
        assert risk.annualized_return == pytest.approx(0.03 * 238)
        assert risk.information_ratio == pytest.approx(risk.mean / risk.std * np.sqrt(238))
        assert risk.max_drawdown == pytest.approx(-0.25)

    def test_returns_compound(self):
        risk = risk_analysis(self.RETURNS, periods=5, mode="product")
        assert risk.annualized_return == pytest.approx(np.prod(1 + self.RETURNS) - 1)
        assert (1 + risk.mean) ** 5 == pytest.approx(1 + risk.annualized_return)
        assert risk.max_drawdown == pytest.approx(0.8 * 1.05 * 0.9 - 1)

    @pytest.mark.parametrize("returns", [[], [0.1], [0.1, 0.1]])
    def test_what_is_undefined_is_nan(self, returns):
        assert np.isnan(risk_analysis(np.array(returns, dtype=np.float64), 252).information_ratio)

    def test_an_unknown_mode_is_refused(self):
        with pytest.raises(ConfigError, match="cannot be summarised"):
            risk_analysis(self.RETURNS, 252, mode="log")  # type: ignore[arg-type]

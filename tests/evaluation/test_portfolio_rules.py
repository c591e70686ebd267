"""What the portfolio does with refused sales, delistings, and market data that are missing or in another unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel
from harness.errors import DataError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.portfolio.backtest import backtest
from harness.evaluation.portfolio.market import Market, check_change
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.predictions import Predictions
from tests.evaluation.test_evaluation import Both

FREE = TopkDropout(
    topk=2,
    n_drop=1,
    limit_threshold=None,
    trade_unit=None,
    open_cost=0.0,
    close_cost=0.0,
    min_cost=0.0,
    benchmark="cash",
    risk_degree=0.5,
    account=1000.0,
)
Table = npt.NDArray[np.float64]


def panel_of(close: Table, **fields: Table) -> Panel:
    times, names = close.shape
    return Panel(
        calendar=Calendar(pd.bdate_range("2020-01-01", periods=times).to_numpy()),
        instruments=tuple(f"S{i}" for i in range(names)),
        fields={name: np.asarray(v, dtype=np.float32) for name, v in {"close": close, **fields}.items()},
        membership=np.ones(close.shape, dtype=bool),
    )


def scored(panel: Panel, score: Table) -> Predictions:
    """Scores from the second time on, so that there is a level before the first."""
    keep = ~np.isnan(score[1:])
    times, codes = np.nonzero(keep)
    return Predictions(
        calendar=panel.calendar,
        instruments=panel.instruments,
        start=1,
        offsets=np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int64),
        codes=codes.astype(np.int32),
        score=score[1:][keep].astype(np.float32),
        label=np.zeros(times.size, dtype=np.float32),
        window_starts=np.array([1], dtype=np.int64),
    )


def followed(close: Table, score: Table, config: TopkDropout, **fields: Table) -> Any:
    panel = panel_of(close, **fields)
    return backtest(panel, scored(panel, score), config)


def walk(times: int = 80, names: int = 6, seed: int = 0) -> tuple[Table, Table]:
    rng = np.random.default_rng(seed)
    return 10 * np.exp(np.cumsum(rng.normal(0, 0.01, (times, names)), axis=0)), rng.normal(size=(times, names))


class TestRefusedSales:
    def limit_down(self) -> tuple[Table, Table]:
        close = np.full((9, 4), 10.0)
        close[5:, 0] = 8.9  # limit down at 5
        score = np.tile([4.0, 3.0, 2.0, 1.0], (9, 1))
        score[4:] = [1.0, 3.0, 2.0, 4.0]  # from 5 on S0 is to make way for S3
        return close, score

    def test_holdings_never_exceed_topk(self):
        config = replace(FREE, limit_threshold=0.095)
        held = (followed(*self.limit_down(), config).shares > 0).sum(axis=1)
        assert held.max() == 2
        theirs = followed(*self.limit_down(), replace(config, rules="qlib")).shares
        assert (theirs > 0).sum(axis=1).max() == 3

    @pytest.mark.parametrize("seed", range(5))
    def test_holdings_never_exceed_topk_whatever_is_refused(self, seed):
        close, score = walk(seed=seed)
        close[np.random.default_rng(seed).random(close.shape) < 0.2] = np.nan
        config = replace(FREE, topk=3, n_drop=2, limit_threshold=0.01, hold_thresh=3)
        assert (followed(close, score, config).shares > 0).sum(axis=1).max() == 3

    def test_the_next_worst_holding_makes_way_when_a_sale_is_refused(self):
        close, score = self.limit_down()
        score[4:] = [1.0, 2.0, 3.0, 4.0]
        shares = followed(close, score, replace(FREE, limit_threshold=0.095)).shares
        assert (shares[4] > 0).tolist() == [True, False, False, True]  # S1 for S3, while S0 cannot be sold
        assert not shares[6, 0]

    @pytest.mark.parametrize("reason", ["suspended", "unripe"])
    def test_one_holding_that_cannot_be_sold_does_not_stop_trading(self, reason):
        close, score = walk()
        score[:, 0] = np.where(np.arange(80) < 5, 9.0, -9.0)
        config = replace(FREE, topk=3, delisted_after=0)
        if reason == "suspended":
            close[5:, 0], score[5:, 0] = np.nan, np.nan
        result = followed(close, score, config if reason == "suspended" else replace(config, hold_thresh=20))
        assert (result.turnover[6:] > 0).sum() > (40 if reason == "suspended" else 3)
        frozen = followed(close, score, replace(config, rules="qlib"))
        if reason == "suspended":
            assert not frozen.turnover[6:].any()


class TestDelisting:
    def gone(self, back: int | None = None) -> tuple[Table, Table]:
        close, score = walk()
        close[:, 0], score[:5, 0] = 10.0, 9.0
        close[10:, 0], score[10:, 0] = np.nan, np.nan
        score[5:10, 0] = 9.0
        if back is not None:
            close[back:, 0], score[back:, 0] = 5.0, -9.0
        return close, score

    def test_a_holding_without_a_price_is_written_down_by_the_rule_and_counted(self):
        config = replace(FREE, delisted_after=15, delisted_loss=0.4)
        result = followed(*self.gone(), config)
        held = result.shares[:, 0] > 0
        assert np.flatnonzero(held)[-1] == 9 - 1 + 14  # 14 times without a price; rows start at time 1
        fall = result.value[23] - followed(*self.gone(), replace(config, delisted_loss=0.0)).value[23]
        assert fall == pytest.approx(-0.4 * result.shares[22, 0] * 10.0)
        note = next(n for n in result.notes if "written down" in n)
        assert note.startswith("1 holding(s) had no price for 15 periods and were written down to 60%")
        assert "S0 at 2020-02-04" in note

    def test_what_trades_again_is_sold_at_its_price(self):
        config = replace(FREE, delisted_after=15, delisted_loss=0.4)
        result = followed(*self.gone(back=40), config)
        shares = result.shares[22, 0] or result.shares[21, 0]
        assert result.turnover[39] * result.value[38] >= shares * 5.0 * (1 - 1e-9)
        assert not result.shares[23:, 0].any()
        assert "1 of them traded again" in " ".join(result.notes)

    def test_nothing_is_written_down_before_its_time_whatever_comes(self):
        config = replace(FREE, delisted_after=15)
        gone, back = followed(*self.gone(), config), followed(*self.gone(back=40), config)
        np.testing.assert_array_equal(gone.value[:39], back.value[:39])

    def test_zero_and_qlibs_rules_never_write_down(self):
        for config in (replace(FREE, delisted_after=0), replace(FREE, rules="qlib")):
            assert followed(*self.gone(), config).shares[-1, 0] > 0
        assert not followed(*self.gone(), FREE).shares[-1, 0]

    def test_a_written_down_holding_is_neither_bought_again_nor_lost_while_it_cannot_be_sold(self):
        close, score = self.gone(back=40)
        close[40:43, 0] = [8.0, 6.0, 5.0]  # at the lower limit, where purchases are accepted and sales are not
        close[43:, 0], score[40:, 0] = 5.0, 9.0
        config = replace(FREE, delisted_after=15, limit_threshold=0.095, forbid_all_trade_at_limit=False)
        result = followed(close, score, config)
        owned = result.shares[22, 0] or result.shares[21, 0]
        assert not result.shares[23:42, 0].any()
        rest = result.cash[40] + np.nansum(result.shares[40] * close[41])
        assert result.value[40] - rest == pytest.approx(0.7 * owned * 6.0)  # valued at its newest price
        assert result.turnover[42] * result.value[41] >= owned * 5.0 * (1 - 1e-9)

    def test_a_written_down_holding_whose_sale_would_cost_more_than_there_is_keeps_giving_up_its_place(self):
        close, score = self.gone(back=40)
        close[40:, 0] = 1e-4
        config = replace(FREE, delisted_after=15, min_cost=5.0, risk_degree=1.0)
        result = followed(close, score, config)
        assert (result.shares > 0).sum(axis=1).max() == 2
        assert not result.shares[23:, 0].any()

    def test_an_account_that_is_worth_nothing_has_no_return_and_says_so(self):
        close, score = np.full((60, 4), 10.0), np.tile([4.0, 3.0, 2.0, 1.0], (60, 1))
        close[5:, :2] = np.nan
        config = replace(FREE, risk_degree=1.0, delisted_after=10, delisted_loss=1.0)
        result = followed(close, score, config)
        assert result.value[-1] == 0.0
        assert np.isfinite(result.returns[:14]).all()
        assert np.isnan(result.returns[14:]).all()
        assert "the account is worth nothing before 45 of 59 test times" in " ".join(result.notes)


def odd_market(seed: int) -> tuple[Panel, Table, TopkDropout]:
    """A random market of suspensions, delistings, limits and lots, its scores, and a strategy."""
    rng = np.random.default_rng(seed)
    times, names = int(rng.integers(20, 80)), int(rng.integers(2, 8))
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.05, (times, names)), axis=0))
    for column in np.repeat(np.arange(names), 2):
        start = int(rng.integers(0, times))
        close[start : start + int(rng.integers(1, 20)), column] = np.nan
    score = rng.normal(size=close.shape)
    score[np.isnan(close) | (rng.random(close.shape) < 0.05)] = np.nan
    topk = int(rng.integers(1, names + 1))
    config = replace(
        FREE,
        topk=topk,
        n_drop=int(rng.integers(0, topk + 1)),
        risk_degree=float(rng.choice([0.5, 1.0])),
        hold_thresh=int(rng.integers(0, 3)),
        limit_threshold=float(rng.choice([0.03, 0.2])),
        forbid_all_trade_at_limit=bool(rng.random() < 0.5),
        open_cost=float(rng.choice([0.0, 0.001, 0.2])),
        close_cost=float(rng.choice([0.0, 0.001, 0.9])),
        trade_unit=int(rng.choice([1, 100])),
        account=1e6,
        delisted_after=int(rng.choice([0, 1, 5])),
        delisted_loss=float(rng.choice([0.0, 0.3, 1.0])),
    )
    return panel_of(close, factor=np.exp(rng.normal(0, 1, close.shape))), score, config


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_or_made_of_nothing_in_any_market(seed):
    panel, score, config = odd_market(seed)
    result = backtest(panel, scored(panel, score), config)
    market = Market(panel, 1, len(panel.calendar), config)
    price = pd.DataFrame(panel.fields["close"].astype(float)).ffill().fillna(0.0).to_numpy()[1:]
    paid = result.cost * np.append(config.account, result.value[:-1])
    waiting, before, cash = np.zeros(price.shape[1]), np.zeros(price.shape[1]), config.account
    for s, shares in enumerate(result.shares):
        gone = (before > 0) & (shares == 0) & np.isnan(market.close[s])  # written down: nothing trades without a price
        still = np.where(market.can_sell[s], 0.0, waiting) + np.where(gone, before, 0.0)
        bought = (shares + still - before - waiting) @ price[s]
        assert result.cash[s] == pytest.approx(cash - bought - np.nan_to_num(paid[s]), abs=1e-6)
        worth = (shares + (1 - config.delisted_loss) * still) @ price[s]
        assert result.value[s] == pytest.approx(result.cash[s] + worth, abs=1e-6)
        waiting, before, cash = still, shares, result.cash[s]
    assert (result.shares >= 0).all()
    assert (result.shares > 0).sum(axis=1).max() <= config.topk
    assert result.cash.min() >= 0.0
    assert np.nanmin(result.cost) >= 0.0


class TestVolume:
    @pytest.mark.parametrize("volume", [0.0, np.nan])
    def test_a_market_without_volume_never_trades_and_says_so_and_the_setting_trades_it(self, volume):
        close, score = walk()
        idle = np.full_like(close, volume)
        still = followed(close, score, FREE, volume=idle)
        assert not still.shares.any()
        notes = " ".join(still.notes)
        assert "474 of 474 prices of members in the test range (100.0%) come without volume" in notes
        assert "suspended_when=no_close" in notes
        assert "never trades" in notes
        for config in (replace(FREE, suspended_when="no_close"), replace(FREE, rules="qlib")):
            traded = followed(close, score, config, volume=idle)
            assert not any("volume" in note for note in traded.notes)
            np.testing.assert_array_equal(traded.value, followed(close, score, config).value)

    def test_a_market_with_volume_needs_no_note(self):
        assert followed(*walk(), FREE, volume=np.ones((80, 6))).notes == ()


class TestBenchmark:
    def under(self, level: Table) -> Any:
        close, score = walk()
        panel = replace(panel_of(close), benchmark=Benchmark("IDX", level.astype(np.float32)))
        return backtest(panel, scored(panel, score), replace(FREE, benchmark="index"))

    @pytest.mark.parametrize("missing", [slice(60, None), slice(0, 30), slice(79, None), slice(0, 1), slice(0, None)])
    def test_an_index_that_does_not_cover_the_test_is_refused_with_counts(self, missing):
        level = np.linspace(100, 120, 80)
        level[missing] = np.nan
        with pytest.raises(DataError, match="does not cover the test range") as caught:
            self.under(level)
        times = np.arange(1, 80)
        known = np.flatnonzero(~np.isnan(level))
        count = 79 if not known.size else int(((times <= known[0]) | (times > known[-1])).sum())
        assert f"{count} of 79 test periods" in str(caught.value)

    def test_a_hole_is_noted_and_its_return_counts_at_the_next_level(self):
        level = np.linspace(100, 120, 80)
        full = self.under(level)
        level[30:33] = np.nan
        result = self.under(level)
        assert (1 + result.benchmark).prod() == pytest.approx((1 + full.benchmark).prod())
        assert "no level at 3 of 79 test periods, first 2020-02-12" in " ".join(result.notes)
        assert full.notes == ()


class TestMissing:
    def test_behind_the_last_price_there_is_no_return_and_none_counts_as_zero(self):
        close, score = walk()
        long_close, long_score = (np.vstack([v, np.full((40, 6), np.nan)]) for v in (close, score))
        config = replace(FREE, benchmark="universe")
        long = followed(long_close, long_score, config)
        assert np.isnan(long.returns[79:]).all()
        assert np.isnan(long.benchmark[79:]).all()
        ours, theirs = (
            evaluate(scored(panel, scores), panel, Both(portfolio=config), horizon=None).overall
            for panel, scores in ((panel_of(long_close), long_score), (panel_of(close), score))
        )
        for name in ("excess_return", "information_ratio", "portfolio_return", "portfolio_turnover", "portfolio_cost"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-12)

    def test_a_missing_change_is_made_of_the_close(self):
        close, score = walk()
        close[40:] *= 1.2  # everybody jumps
        change = np.full_like(close, np.nan)
        config = replace(FREE, limit_threshold=0.095)
        np.testing.assert_array_equal(
            followed(close, score, config, change=change).value, followed(close, score, config).value
        )

    def test_a_missing_deal_price_is_counted(self):
        close, score = walk()
        openings = close.copy()
        openings[40] = np.nan
        notes = followed(close, score, replace(FREE, deal_price="open"), open=openings).notes
        assert notes == (
            "6 of 474 traded rows of members lack the deal price `open`; orders are filled at the close there",
        )

    def test_a_topk_beyond_the_scores_of_some_times_is_counted(self):
        close, score = walk()
        score[20:30, 1:] = np.nan
        notes = followed(close, score, FREE).notes
        assert len(notes) == 1
        assert notes[0].startswith("topk=2 exceeds the instruments that have a score at 10 of 79 test periods")


def rounded(change: Table) -> Table:
    return np.round(change, 4)


UNITS = {
    "per cent": lambda r, before: 100 * r,
    "basis points": lambda r, before: 1e4 * r,
    "money": lambda r, before: r * before,
    "close over the close before": lambda r, before: 1 + r,
    "logarithm": lambda r, before: np.log1p(r),
    "sign turned": lambda r, before: -r,
}


class TestChange:
    def panel(self, make: Any, columns: slice = slice(None)) -> Panel:
        close, _ = walk(names=10)
        before = np.vstack([np.full((1, 10), np.nan), close[:-1]])
        change = close / before - 1
        change[:, columns] = make(change, before)[:, columns]
        return panel_of(close, change=change)

    @pytest.mark.parametrize("unit", UNITS)
    def test_another_unit_is_refused_and_named(self, unit):
        with pytest.raises(DataError, match="`change` is not the close over") as caught:
            check_change(self.panel(UNITS[unit]), 1, 80)
        assert unit in str(caught.value)
        assert "first S0 at 2020-01-02" in str(caught.value)

    def test_one_instrument_in_another_unit_is_refused_and_named(self):
        with pytest.raises(DataError, match="in 1 instrument") as caught:
            check_change(self.panel(UNITS["per cent"], slice(7, 8)), 1, 80)
        assert "S7" in str(caught.value)
        assert "median factor 100" in str(caught.value)

    def test_what_has_no_unit_is_refused_with_its_factor(self):
        with pytest.raises(DataError, match=r"no unit that is known \(median factor 7\)"):
            check_change(self.panel(lambda r, before: 7 * r), 1, 80)

    def test_ratios_pass_rounded_with_gaps_and_with_a_few_splits(self):
        check_change(self.panel(lambda r, before: rounded(r)), 1, 80)
        check_change(self.panel(lambda r, before: np.where(np.arange(80)[:, None] % 7, r, np.nan)), 1, 80)
        split = self.panel(lambda r, before: r + 0.5 * (np.arange(80) == 40)[:, None])
        check_change(split, 1, 80)
        check_change(panel_of(walk()[0]), 1, 80)

    def test_only_the_test_range_counts(self):
        wrong_before = self.panel(lambda r, before: np.where(np.arange(80)[:, None] < 40, 100 * r, r))
        check_change(wrong_before, 41, 80)
        with pytest.raises(DataError):
            check_change(wrong_before, 1, 80)

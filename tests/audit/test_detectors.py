"""Each detector answers its own question: what poison changes, what a frontier finds, what chance allows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.audit.audit import audit
from harness.audit.batches import differs, dividing
from harness.audit.cost import BackwardFilled
from harness.audit.frontier import _farthest, frontiers
from harness.audit.orders import known_before, out_of_reach
from harness.audit.poison import differ, poison
from harness.audit.prior import association
from harness.audit.replay import Replay
from harness.audit.roots import roots_of
from harness.audit.verdict import Level
from harness.config import compose_config
from harness.config.instantiate import build
from harness.data.panel import Panel
from harness.data.source import Source
from harness.data.sources.synthetic import SyntheticMarket
from harness.evaluation.portfolio.strategy import Trading
from harness.execution.progress import Silent
from harness.run.experiment import run
from harness.run.pipeline import Pipeline
from harness.samples.plan import WindowPlan
from harness.samples.table import SampleTable
from harness.samples.windows import Window
from harness.store.records import describe
from tests.audit.market import SMALL, small
from tests.leakage.parts import Changed

CUT = 200


@pytest.fixture(scope="module")
def panel() -> Panel:
    return compose_config([*SMALL, "data.suspension_rate=0.02"]).data.load()


def test_poison_changes_everything_after_the_cut_and_nothing_before(panel: Panel) -> None:
    other = poison(panel, CUT, seed=1)
    for name, values in panel.fields.items():
        np.testing.assert_array_equal(other.fields[name][: CUT + 1], values[: CUT + 1])
        after = other.fields[name][CUT + 1 :]
        assert not (after == values[CUT + 1 :]).any(), name
        assert (np.isnan(after) != np.isnan(values[CUT + 1 :])).any(), f"the gaps of {name} are the same"
    np.testing.assert_array_equal(other.membership[: CUT + 1], panel.membership[: CUT + 1])
    assert (other.membership[CUT + 1 :] != panel.membership[CUT + 1 :]).any()
    rows, real = other.traded & other.membership, panel.traded & panel.membership
    assert (rows[CUT + 1 :] & ~real[CUT + 1 :]).any()
    assert (~rows[CUT + 1 :] & real[CUT + 1 :]).any()
    assert panel.benchmark is not None
    assert other.benchmark is not None
    np.testing.assert_array_equal(other.benchmark.close[: CUT + 1], panel.benchmark.close[: CUT + 1])
    assert not (other.benchmark.close[CUT + 1 :] == panel.benchmark.close[CUT + 1 :]).any()


def test_another_seed_is_another_future(panel: Panel) -> None:
    first, second = (poison(panel, CUT, seed).fields["close"][CUT + 1 :] for seed in (1, 2))
    assert not (first == second).any()


@dataclass(frozen=True)
class Joined:
    """Prices of some sources, with a field of another one that is nested among settings."""

    prices: tuple[Source, ...]
    others: dict[str, Any]

    def load(self) -> Panel:
        panel, other = self.prices[0].load(), self.others["deep"]["source"].load()
        return replace(panel, fields={**panel.fields, "other": other.fields["volume"]})

    def inputs(self) -> dict[str, str]:
        return {}


def test_every_source_is_poisoned_at_its_root_however_nested(tmp_path: Path) -> None:
    first, second = (compose_config([*SMALL, f"data.seed={seed}"]).data for seed in (1, 2))
    source = Joined((BackwardFilled(first),), {"deep": {"source": second, "days": [3]}})
    roots = roots_of(describe(source))
    assert len(roots.nodes) == 2
    clean = source.load()
    other = other_world(source, clean.calendar.format(CUT), tmp_path)
    for name in ("close", "other"):
        after = other.fields[name][CUT + 1 :]
        assert not (after == clean.fields[name][CUT + 1 :]).any(), name
    np.testing.assert_array_equal(clean.fields["other"][: CUT + 1], other.fields["other"][: CUT + 1])


def test_the_arithmetic_of_a_wrapper_runs_on_the_other_future(tmp_path: Path) -> None:
    source = BackwardFilled(compose_config([*SMALL, "data.suspension_rate=0.05"]).data)
    clean = source.load()
    other = other_world(source, clean.calendar.format(CUT), tmp_path)
    differs = (clean.fields["close"] != other.fields["close"]) & ~np.isnan(clean.fields["close"])
    assert differs[: CUT + 1].any(), "gaps before the cut were filled from after it"


@pytest.mark.parametrize(("dated", "moved"), [(4, False), (0, True)])
def test_a_week_is_known_on_the_day_that_dates_it(tmp_path: Path, dated: int, moved: bool) -> None:
    """Its last close lies after its first day, so that a source which calls it by that knows the future."""
    by = "odd:CLEANLY:weeks of days" if dated else "held_edges:CHANGED:weeks dated by their first day"
    source = Changed(compose_config(list(SMALL)).data, f"tests.leakage.{by}")
    clean = source.load()
    other = other_world(source, clean.calendar.format(20), tmp_path)
    close = [panel.fields["close"][:21] for panel in (clean, other)]
    assert differ(*close).any() == moved


def orders_at(deal: list[float], sides: list[float], low: float = 0.0, high: float = 20.0) -> dict[str, Any]:
    """Two instruments' orders, with an account of one kind."""
    bar = {"range": np.tile([low, high], (2, 1)), "limits": np.ones((2, 2), dtype=bool)}
    made = {"sides": np.array(sides), "wanted": np.zeros(2), "account": np.array([1.0, 2.0, 3.0])}
    return {"instruments": np.array(["a", "b"]), "deal": np.array(deal), **bar, **made}


@pytest.mark.parametrize(
    ("deal", "sides", "bar", "said"),
    [
        ([3.0, 4.0], [1.0, -1.0], (0.0, 20.0), ""),
        ([1.0, 4.0], [1.0, -1.0], (0.0, 20.0), "are known when their signal is made"),
        ([3.0, 4.0], [-1.0, 1.0], (0.0, 20.0), "orders are others when the market is"),
        ([3.0, 4.0], [1.0, -1.0], (5.0, 20.0), "lie outside the range of prices"),
    ],
)
def test_an_order_follows_its_signal_and_its_price_does_not(
    deal: list[float], sides: list[float], bar: tuple[float, float], said: str
) -> None:
    other = orders_at(deal, sides, *bar)
    found = list(known_before(orders_at([1.0, 2.0], [1.0, -1.0]), other, False, "2012-01-04", True))
    assert [said in one.what for one in found] == [True] * bool(said)


@pytest.mark.parametrize(
    ("field", "said"), [("close", ""), ("vwap", ""), ("low", "are the lowest"), ("volume", "lie outside")]
)
def test_an_order_is_filled_at_a_price_that_can_be_had(panel: Panel, field: str, said: str) -> None:
    trading = Trading(deal_price=field, trade_unit=None, limit_threshold=None)
    found = list(out_of_reach(panel, trading, 200, 300, "2012-10-10"))
    assert [said in one.what for one in found] == [True] * bool(said)


def other_world(source: Source, after: str, folder: Path) -> Panel:
    made = build(roots_of(describe(source)).write(folder, after, 1), "data", Source)
    assert isinstance(made, Source)
    return made.load()


def test_what_takes_no_other_source_is_a_root_itself() -> None:
    source = Strict(compose_config(list(SMALL)).data)  # type: ignore[arg-type]
    assert roots_of(describe(source)).nodes.keys() != roots_of(describe(source.inner)).nodes.keys()
    assert roots_of(describe(source)).whole


@dataclass(frozen=True)
class Strict:
    """Takes one class of source only."""

    inner: SyntheticMarket

    def load(self) -> Panel:
        return self.inner.load()

    def inputs(self) -> dict[str, str]:
        return {}


def test_the_frontier_finds_what_is_learned_and_what_is_wasted(tmp_path: Path) -> None:
    """Validation is 60 times long, its purge 6; leaving it out wastes both, and the static reads agree."""
    for override, waste in (("model.include_valid=true", 0), ("model.include_valid=false", 60)):
        config = small(tmp_path, "windows.step=60", override)
        replay = Replay(run(config, Silent()), Pipeline(config), Silent())
        moved, read = frontiers(replay, (0, 1)), audit(config, Level.STATIC)
        assert [at.waste for at in moved] == [at.waste for at in read.frontiers] == [waste, waste]
        assert [at.newest for at in moved] == [at.newest for at in read.frontiers]
        assert all(at.perturbed for at in moved)
    assert "60 periods before the purge were never learned from" in read.summary


def test_knowledge_of_the_labels_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    label = rng.standard_normal((80, 20))
    found = [association(rng.standard_normal((80, 20)), label) for _ in range(200)]
    z = [one.z for one in found if one is not None]
    assert len(z) == 200
    assert abs(np.mean(z)) < 0.3
    assert 0.85 < np.std(z) < 1.15
    known = association(label + rng.standard_normal((80, 20)), label)
    assert known is not None
    assert known.z > 5
    assert association(np.ones((80, 20)), label) is None


@pytest.mark.parametrize(
    ("after", "leaks"),
    [
        (lambda scores: scores, False),
        (np.tanh, False),
        (lambda scores: scores - scores.mean(), True),
        (lambda scores: np.argsort(np.argsort(scores)), True),
        (lambda scores: scores + np.append(scores[1:], 0.0), True),
    ],
)
def test_a_score_is_the_same_whatever_is_predicted_with_it(
    tmp_path: Path, after: Callable[[Any], Any], leaks: bool
) -> None:
    pipeline, found = Pipeline(small(tmp_path)), list[tuple[int, str]]()

    def predict(fitted: Any, plan: WindowPlan, table: SampleTable, window: Window) -> Any:
        features = np.nan_to_num(table.features[table.index.rows(window.test.start, window.test.stop)])
        return after(features @ np.linspace(1.0, 2.0, features.shape[1]).astype(np.float32))

    asked: Any = (None, WindowPlan(), pipeline.table, pipeline.windows[1])
    np.testing.assert_array_equal(dividing(predict, found)(*asked), predict(*asked))
    assert [at for at, _ in found] == [1] * leaks


def test_rounding_is_no_difference_and_a_missing_score_is() -> None:
    left = np.array([1.0, 2.0, np.nan])
    assert not differs(left, left + 1e-9, 1.0)
    assert differs(left, left + 1e-3, 1.0)
    assert differs(left, np.array([1.0, 2.0, 3.0]), 1.0)


def asking(answer: bool) -> Generator[Any, bool, bool]:
    """A question whose answer is known: it asks nobody."""
    yield from ()
    return answer


@pytest.mark.parametrize(("inside", "outside"), [(0, 12), (11, -1)])
def test_the_border_is_found_from_either_side_and_from_any_guess(inside: int, outside: int) -> None:
    for border in range(12):
        for guess in range(12):
            step = 1 if outside > inside else -1
            search = _farthest(lambda at, b=border, s=step: asking(s * at <= s * b), inside, outside, guess)  # type: ignore[misc]
            with pytest.raises(StopIteration) as end:
                next(search)
            assert end.value.value == border


def test_bits_differ_where_values_or_signs_do_and_every_nan_is_the_same() -> None:
    left = np.array([1.0, 0.0, np.nan, np.nan], dtype=np.float32)
    right = np.array([1.0, -0.0, -np.nan, 1.0], dtype=np.float32)
    assert differ(left, right).tolist() == [False, True, False, True]

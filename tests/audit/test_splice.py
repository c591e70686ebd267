"""What a full audit takes from the store is what poison cannot have changed, and nothing else."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.models.linear import Linear
from harness.audit import splice, world
from harness.audit.audit import audit
from harness.audit.frontier import frontiers
from harness.audit.poison import followed_by, other_future, poison
from harness.audit.replay import Replay
from harness.audit.roots import roots_of, tree_of
from harness.audit.splice import Future, PastWriter, Splice
from harness.audit.verdict import Level
from harness.audit.world import World
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Silent
from harness.features import engine
from harness.run import feature_chunks
from harness.run.experiment import run
from harness.run.pipeline import Pipeline
from harness.run.stages import Cache
from harness.samples.table import SampleTable
from harness.store.artifacts import ArtifactStore
from harness.store.codec import load
from tests.audit.market import small

CUTS = (140, 170, 250)
REACH = {"expressions": 59, "alpha158": 60}  # times before its own that a feature reads


def splice_of(config: ExperimentConfig) -> Splice:
    pipeline = Pipeline(config)
    return Splice(config, pipeline.panel, pipeline.table)


def computed(config: ExperimentConfig, panel: Panel, folder: Path) -> SampleTable:
    return Pipeline(config, Cache(ArtifactStore(folder)), panel=panel).table


@pytest.mark.parametrize("features", ["expressions", "alpha158"])
def test_a_spliced_table_is_the_one_that_the_poisoned_panel_gives(tmp_path: Path, features: str) -> None:
    """Windows of 60 times; instruments that join, leave and are suspended. All cuts are followed by one future."""
    config = small(tmp_path, f"features={features}", "data.suspension_rate=0.03", "data.days=340")
    splice, shared = splice_of(config), Future()
    other = other_future(splice.panel, CUTS[0], seed=1)
    for cut in CUTS:
        panel = followed_by(splice.panel, other, cut, {})
        table, whole = splice.of(panel, cut, shared), computed(config, panel, tmp_path / f"poisoned-{cut}")
        assert table is not None, "nothing was reused"
        np.testing.assert_array_equal(table.index.offsets, whole.index.offsets)
        np.testing.assert_array_equal(table.index.codes, whole.index.codes)
        np.testing.assert_array_equal(table.label, whole.label)
        columns = [whole.feature_names.index(name) for name in table.feature_names]
        np.testing.assert_array_equal(table.features, whole.features[:, columns])
        later = shared.shared(config, panel, table.index, cut + 1)
        assert later == min(cut + 1 + REACH[features], len(panel.calendar))


def test_a_past_that_the_poison_has_moved_is_not_taken_from_the_store(tmp_path: Path) -> None:
    splice = splice_of(small(tmp_path))
    panel = poison(splice.panel, 140, seed=1)
    close = np.array(panel.fields["close"])
    at = int(np.flatnonzero(~np.isnan(close[100]))[0])
    close[100, at] = np.nextafter(close[100, at], np.float32(np.inf))
    assert splice.of(replace(panel, fields={**panel.fields, "close": close}), 140) is None
    assert splice.of(panel, 140) is not None


@pytest.mark.parametrize("reach", [1, 200])
def test_features_that_need_what_comes_later_are_not_taken_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reach: int
) -> None:
    """A bug of the engine: what every feature reads is added to what it is `reach` times later."""
    leaky = ahead(engine.compute_period, reach)
    for module in (feature_chunks, sys.modules[Splice.__module__]):
        monkeypatch.setattr(module, "compute_period", leaky)
    splice = splice_of(small(tmp_path))
    assert [splice.of(poison(splice.panel, cut, seed=1), cut) for cut in CUTS] == [None] * len(CUTS)


def ahead(compute: Callable[..., Any], reach: int) -> Callable[..., Any]:
    def leaky(panel: Panel, *given: Any, **options: Any) -> Any:
        times = len(panel.calendar)
        later = np.minimum(np.arange(times) + reach, times - 1)
        moved = {name: values + np.nan_to_num(values[later]) for name, values in panel.fields.items()}
        leaking = replace(panel, fields=moved)
        return compute(leaking, *given, **options)

    return leaky


def test_a_table_that_was_stored_wrongly_is_not_taken_from_the_store(tmp_path: Path) -> None:
    """One value of one row of the real table is not what the panel up to its time gives."""
    splice = splice_of(small(tmp_path))
    features = np.array(splice.table.features)
    features[int(splice.table.index.offsets[150])] += 1.0
    wrong = replace(splice.table, features=features)
    stale = Splice(splice.config, splice.panel, wrong)
    assert stale.of(poison(splice.panel, 140, seed=1), 140) is not None
    assert stale.of(poison(splice.panel, 170, seed=1), 170) is None


@pytest.mark.nightly
def test_an_audit_after_a_run_computes_nothing_of_the_real_panel_and_may_look_at_fewer_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other futures are a fresh process's."""
    config = small(tmp_path)
    run(config, Silent())
    made = []
    monkeypatch.setattr(feature_chunks, "compute_period", lambda *given, **named: made.append(1))
    verdict = audit(config, Level.FULL, cuts=2)
    assert verdict.clean
    assert made == []
    windows = [at.window for at in verdict.frontiers]
    assert len(windows) == 2
    assert windows[0] == 0
    note = next(check.note for check in verdict.checks if check.name == "poison")
    assert note.startswith("after each of 6 cuts"), (
        "the first and the last decision, a middle one for the whole run, and once inside three windows"
    )


def test_a_world_with_a_proved_past_is_the_one_that_is_computed_whole(tmp_path: Path) -> None:
    """And one cut after the other adds what is new to the files of the one before."""
    config = small(tmp_path)
    windows, splice, writer = run(config, Silent()).windows, splice_of(config), PastWriter(tmp_path / "past")
    for at in (1, 3):
        cut, scores = windows[at].decision, []
        past = splice.past(cut)
        assert past is not None
        for name, folder in (("spliced", str(writer.write(past))), ("computed", None)):
            world = World(str(tmp_path / f"{name}-{at}"), tree_of(config), cut, (at,), folder)
            Path(world.folder).mkdir()
            world.outcome()
            scores.append(load(Path(world.folder), Predictions, f"window-{at}").score)
        np.testing.assert_array_equal(scores[0], scores[1])
    parts = sorted(writer.folder.glob("*.npy"))
    last = splice.past(windows[3].decision)
    assert last is not None
    assert sum(len(np.load(part)) for part in parts) == last.rows


def test_a_world_that_is_cut_later_takes_the_past_of_the_whole_run_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one process keeps of the first world, whose panel is the same up to its own cut."""
    config, shared, scores, made = small(tmp_path), Future(), list[Any](), list[int]()

    def counted(*given: Any) -> SampleTable:
        made.append(1)
        return splice.computed(*given)

    monkeypatch.setattr(world, "computed", counted)
    windows, panel = run(config, Silent()).windows, Pipeline(config).panel
    for name, cut, at, kept in (("whole", 2, (), shared), ("later", 4, (4,), shared), ("alone", 4, (4,), Future())):
        folder = tmp_path / name
        tree, roots = tree_of(config), roots_of(tree_of(config)["data"])
        time, since = (panel.calendar.format(windows[number].decision) for number in (cut, 2))
        asked = World(str(folder), {**tree, "data": roots.write(folder, time, 1, {}, since)}, windows[cut].decision, at)
        asked.outcome(kept)
        if at:
            scores.append(load(folder, Predictions, "window-4").score)
    assert shared.past is not None
    assert shared.past.stop == windows[2].decision + 1
    assert len(made) == 2, "the later world computes nothing but what comes after the first one's cut"
    np.testing.assert_array_equal(scores[0], scores[1])


def test_a_frontier_fits_a_clean_window_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(tmp_path, "windows.step=40")
    result = run(config, Silent())
    fit, fits = Linear.fit, itertools.count()

    def counted(*given: Any) -> Any:
        next(fits)
        return fit(*given)

    monkeypatch.setattr(Linear, "fit", counted)
    frontiers(Replay(result, Pipeline(config), Silent()), (1,))
    assert next(fits) == 3

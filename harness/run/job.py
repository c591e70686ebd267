"""One experiment as its stages, each made at most once: what a run walks through and what workers share out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.config import ExperimentConfig
from harness.config.contracts import check_object, traits_of
from harness.data.panel import Panel
from harness.evaluation.evaluate import Evaluation, Year, evaluate, year_of
from harness.evaluation.intervals import intervals
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Observer, Silent, telling
from harness.run.rolling import RollingResult, roll, window_stage
from harness.run.schedule import check, describe_windows, resolve_windows
from harness.run.stages import Stages, panel_key_of
from harness.run.window_stage import Cache, Recipe, WindowReads, WindowStage
from harness.samples.interfaces import (
    AdaptationTraits,
    DividedAdaptation,
    FittedAdaptation,
    History,
    Piece,
    PreprocessTraits,
    Stored,
    StoredAdaptation,
)
from harness.samples.table import Artefact, SampleTable, ViewLog, artefact_of
from harness.samples.windows import Segment, Window
from harness.snapshots.provenance import Stopwatch, provenance
from harness.store.artifacts import ArtifactStore, Key, Shelf, canonical_json, key_of
from harness.store.code_digest import code_digest
from harness.store.records import describe, modules_of

PREDICTIONS, SERIES, METRICS = "predictions.parquet", "series.parquet", "metrics.json"
READS, ARTEFACTS, RESOLVED, ADAPTATION = "reads.json", "artefacts.json", "resolved.json", "adaptation"
PROVENANCE = "provenance.json"
_VIEWS = "views.json"
_GROUPS = ("features", "label", "samples", "windows", "preprocess", "model", "adaptation", "evaluation", "seed")
Value = TypeVar("Value")


def settings_of(config: ExperimentConfig) -> dict[str, object]:
    """Return everything configured that can change a number, but for the data, which count by their content.

    Secrets stand in it, so that other values are other results: `without_secrets` before it is written.
    """
    return {name: describe(getattr(config, name)) for name in _GROUPS}


@dataclass(frozen=True, eq=False)
class Job:
    """The stages of one configuration.

    Attributes:
        config: The experiment.
        store: Where every stage is found or kept.
        watch, observer: Told the seconds of each stage, and its progress.
        shelf: Keeps large stages in memory for the next experiment of this process.
        shared: Large stages go through the store too, for other processes.
        panel_key: The panel's, where another process has looked at the source already.
    """

    config: ExperimentConfig
    store: ArtifactStore
    watch: Stopwatch = field(default_factory=Stopwatch)
    observer: Observer = field(default_factory=Silent)
    shelf: Shelf = field(default_factory=Shelf)
    shared: bool = False
    panel_key: Key | None = None

    @cached_property
    def stages(self) -> Stages:
        """The stages up to the sample table."""
        source = self.config.data
        # A sweep looks at a source once: all its cells are about the same files, whatever happens to them meanwhile.
        key = self.panel_key or self.shelf.get("source", canonical_json(describe(source)), lambda: panel_key_of(source))
        return Stages(self.config, self.store, self.watch, self.observer, key)

    @cached_property
    def panel(self) -> Panel:
        """The market."""
        return self.stages.panel()

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The walk-forward schedule."""
        return resolve_windows(self.config.windows, self.panel.calendar, self.config.label.look_ahead)

    def check(self) -> None:
        """Refuse what panel and configuration alone say cannot be judged, see `harness.run.schedule.check`.

        Experiments that share a shelf and ask the same are checked once.
        """
        config = self.config
        parts = [config.label, config.features, config.samples, config.evaluation]
        asked = [self.panel.fingerprint, [describe(part) for part in parts], bool(config.model.needs_valid)]
        windows = describe_windows(self.windows, self.panel.calendar)

        def ask() -> bool:
            check(config, self.panel, self.windows)
            return True

        self.shelf.get("checked", canonical_json([asked, windows]), ask)

    @cached_property
    def year(self) -> Year:
        """What annualised figures take a year to be."""
        criteria = self.config.evaluation
        return year_of(self.panel.calendar, criteria.signal.periods_per_year, criteria.rules)

    @cached_property
    def table(self) -> SampleTable:
        """The raw sample table."""
        return self.shelf.get("table", self.stages.table_key(self.panel).digest, lambda: self.stages.table(self.panel))

    @cached_property
    def result_key(self) -> Key:
        """What identifies the finished result."""
        settings = settings_of(self.config)
        return key_of(
            "result",
            table=self.stages.table_key(self.panel).digest,
            settings=settings,
            windows=describe_windows(self.windows, self.panel.calendar),
            code=code_digest("harness.run.job", *modules_of(settings)),
        )

    @cached_property
    def adaptation_key(self) -> Key:
        """What identifies the fitted adaptation: no model and no evaluation."""
        adaptation = describe(self.config.adaptation)
        return key_of(
            "adaptation",
            table=self.stages.table_key(self.panel).digest,
            adaptation=adaptation,
            windows=describe_windows(self.windows, self.panel.calendar),
            step=self.config.windows.step,
            seed=self.config.seed,
            code=self._adaptation_code,
        )

    @cached_property
    def adaptation(self) -> FittedAdaptation:
        """The fitted adaptation; found in the store when it can be read back."""
        adaptation = self.config.adaptation
        with self.watch.stage("adaptation"), telling(self.observer, "adaptation"):
            if not isinstance(adaptation, StoredAdaptation):
                return self._fitted_adaptation()
            made: list[FittedAdaptation] = []

            def make(folder: Path) -> None:
                made.append(self._fitted_adaptation())
                made[0].save(folder)
                _write(folder / _VIEWS, _records(self._log.artefacts(ADAPTATION)))

            folder = self.store.get_or_make(self.adaptation_key, make)
            if made:
                return made[0]
            self._log.tell(_read_views(folder))
            return adaptation.load(folder)

    def _fitted_adaptation(self) -> FittedAdaptation:
        fitted = self.config.adaptation.fit(self._history)
        check_object(fitted, FittedAdaptation, "adaptation.fit")
        return fitted

    @cached_property
    def _pieces(self) -> tuple[tuple[Piece, ...], ...]:
        # Kept from one piece to the next: what they have in common is made once per process.
        adaptation = self.config.adaptation
        return adaptation.waves(self._history) if isinstance(adaptation, DividedAdaptation) else ()

    @property
    def waves(self) -> tuple[tuple[Key, ...], ...]:
        """The keys of the adaptation's pieces, see `DividedAdaptation`; none when it is fitted in one go."""
        table = self.stages.table_key(self.panel).digest
        return tuple(
            tuple(key_of("piece", table=table, parts=dict(piece.parts), code=self._adaptation_code) for piece in wave)
            for wave in self._pieces
        )

    def make_piece(self, wave: int, at: int) -> None:
        """Make one piece of the adaptation, and leave it in the store."""
        self._pieces[wave][at].make()

    @cached_property
    def window_stage(self) -> WindowStage:
        """Fits and predicts single windows."""
        return window_stage(self.table, self.windows, self._recipe, cache=self._cache, observer=self.observer)

    def make_result(self) -> Path:
        """Return the folder of the result: everything but its snapshot.

        Raises:
            HarnessError: When panel and configuration alone say that it cannot be judged, before anything is computed.
        """
        if self.store.find(self.result_key) is None:
            self.check()
        return self.store.get_or_make(self.result_key, self._make)

    def _make(self, folder: Path) -> None:
        table, recipe = self.table, self._recipe
        with self.watch.stage("windows"):
            rolled = roll(table, self.windows, recipe, cache=self._cache, observer=self.observer)
        self.watch.fitted += rolled.fitted
        with telling(self.observer, "evaluation"):
            self._judge(rolled, folder)
        self._keep_adaptation(folder)
        # With the result, so that whoever finds it in the store learns who computed it, not who looked.
        modules = modules_of(self.config.data, settings_of(self.config))
        _write(folder / PROVENANCE, provenance(self.watch, modules))

    def _keep_adaptation(self, folder: Path) -> None:
        """Save what the adaptation has learned, and what it read to learn it."""
        target = folder / ADAPTATION
        target.mkdir()
        self.adaptation.save(target)
        if not any(target.iterdir()):
            target.rmdir()
        told = traits_of(self.adaptation, AdaptationTraits, "adaptation").artefacts
        learned = {"views": self._log.artefacts(ADAPTATION), "artefacts": told}
        _write(folder / ARTEFACTS, {name: _records(found) for name, found in learned.items()})

    @property
    def _recipe(self) -> Recipe:
        return Recipe(self.config.preprocess, self.adaptation, self.config.model, self.config.windows.step)

    @cached_property
    def _cache(self) -> Cache:
        preprocess, model = self.config.preprocess, self.config.model
        return Cache(
            store=self.store,
            table=self.stages.table_key(self.panel).digest,
            code=code_digest("harness.run.window_stage", *modules_of(model, preprocess)),
            processing=code_digest("harness.samples.preprocess", *modules_of(preprocess)),
            shelf=self.shelf,
            shared=self.shared,
        )

    @property
    def _history(self) -> History:
        return History(
            as_of=self._log.as_of,
            windows=self.windows,
            segment=Segment(self.windows[0].train.start, self.windows[-1].learn_stop),
            step=self.config.windows.step,
            seed=self.config.seed,
            observer=self.observer,
            stash=self._stash,
            shared=self.shared,
        )

    @cached_property
    def _log(self) -> ViewLog:
        return ViewLog(self.table)

    @cached_property
    def _adaptation_code(self) -> str:
        return code_digest("harness.samples.interfaces", *modules_of(describe(self.config.adaptation)))

    def _stash(self, stage: str, parts: Mapping[str, object], stored: Stored[Value]) -> Value:
        """Keep an intermediate result of the adaptation by what determines it: data, parts and code."""
        table = self.stages.table_key(self.panel).digest
        key = key_of(stage, table=table, parts=dict(parts), code=self._adaptation_code)

        def get() -> tuple[Value, tuple[Artefact, ...]]:
            made: list[Value] = []

            def make(folder: Path) -> None:
                mark = self._log.mark
                with telling(self.observer, stage.replace("_", " ")):
                    made.append(stored.make())
                stored.save(made[0], folder)
                _write(folder / _VIEWS, _records(self._log.artefacts(stage, since=mark)))

            folder = self.store.get_or_make(key, make)
            return made[0] if made else stored.load(folder), _read_views(folder)

        value, views = self.shelf.get(stage, key.digest, get)
        # What was read does not depend on who read it when.
        self._log.tell(views)
        return value

    def _judge(self, rolled: RollingResult, folder: Path) -> None:
        config, predictions = self.config, rolled.predictions
        with self.watch.stage("evaluation"):
            same_unit = traits_of(config.preprocess, PreprocessTraits, "preprocess").keeps_label_unit
            evaluation = self._evaluated(predictions, same_unit=same_unit)
            truth = _truth(self.panel, predictions, config)
            oracle = None if truth is None else self._evaluated(truth, same_unit=True)
        metrics = {
            "overall": evaluation.overall,
            "per_window": evaluation.per_window,
            "per_year": evaluation.per_year,
            "intervals": self._intervals(evaluation),
            "oracle": None if oracle is None else oracle.overall,
            "predictions": predictions.digest,
            "notes": list(evaluation.notes),
        }
        predictions.write_parquet(folder / PREDICTIONS)
        evaluation.write_series(folder / SERIES)
        _write(folder / METRICS, metrics)
        _write(folder / READS, _records(rolled.reads))
        names, dropped = self.stages.feature_names(self.panel), self.stages.dropped_features(self.panel)
        _write(folder / RESOLVED, {"features": names, "dropped": dropped})

    def _evaluated(self, predictions: Predictions, *, same_unit: bool) -> Evaluation:
        label = self.config.label
        return evaluate(
            predictions,
            self.panel,
            self.config.evaluation,
            horizon=label.horizon,
            look_ahead=label.look_ahead,
            same_unit=same_unit,
        )

    def _intervals(self, evaluation: Evaluation) -> dict[str, dict[str, float | None]] | None:
        criteria, label = self.config.evaluation, self.config.label
        if criteria.significance is None:
            return None
        with self.watch.stage("significance"):
            return intervals(
                evaluation,
                criteria,
                criteria.significance,
                horizon=label.horizon,
                look_ahead=label.look_ahead,
                observer=self.observer,
            )


def _records(found: Iterable[WindowReads | Artefact]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


def _read_views(folder: Path) -> tuple[Artefact, ...]:
    return tuple(artefact_of(record) for record in json.loads((folder / _VIEWS).read_text(encoding="utf-8")))


def _write(path: Path, value: object) -> None:
    path.write_text(canonical_json(value, indent=1), encoding="utf-8", newline="\n")


def _truth(panel: Panel, predictions: Predictions, config: ExperimentConfig) -> Predictions | None:
    """Return the simulator's expectation of the label as a prediction; the label spans the steps 2 … look-ahead."""
    if panel.truth is None or config.label.horizon is None:
        return None
    expected = panel.truth.expected_return(2, config.label.look_ahead)  # (T, N)
    times = np.repeat(np.arange(predictions.start, predictions.stop), np.diff(predictions.offsets))
    return replace(predictions, score=expected[times, predictions.codes])

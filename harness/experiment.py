"""The pipeline, readable as a table of contents: one configuration in, one result out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifacts import ArtifactStore, Key, canonical_json, key_of, write_atomically
from harness.code_digest import code_digest
from harness.config import ExperimentConfig, compose_config
from harness.data.panel import Panel
from harness.evaluation import Evaluation, Judged, evaluate, intervals
from harness.instantiate import describe, modules_of
from harness.interfaces import FittedAdaptation, History, Observer, Silent
from harness.predictions import Predictions
from harness.provenance import Stopwatch, provenance
from harness.rolling import Cache, Recipe, RollingResult, roll
from harness.samples import SampleTable
from harness.schedule import describe_windows, resolve_windows
from harness.snapshot import Snapshot, identity_digest, write_snapshot
from harness.stages import Stages
from harness.view_log import ViewLog
from harness.windows import Segment, Window

__all__ = ["ExperimentResult", "describe_experiment", "run", "run_experiment"]

_PREDICTIONS, _SERIES, _METRICS, _READS = "predictions.parquet", "series.parquet", "metrics.json", "reads.json"
_RESOLVED, _ARTEFACTS = "resolved.json", "artefacts.json"


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """What a run leaves behind.

    Attributes
    ----------
    config
        The checked configuration.
    windows
        The walk-forward windows.
    snapshot
        Identity, metrics and provenance.
    folder
        Holds ``snapshot.json``, ``predictions.parquet``, ``series.parquet``, ``metrics.json``, and what was read:
        ``reads.json`` by each window's fitting, ``artefacts.json`` by the adaptation.
    reused
        True when the store held the whole result already.
    """

    config: ExperimentConfig
    windows: tuple[Window, ...]
    snapshot: Snapshot
    folder: Path
    reused: bool

    @property
    def metrics(self) -> dict[str, Any]:
        """The overall metrics of the predictions by name; None where undefined."""
        return dict(self.snapshot.metrics["overall"])

    @property
    def oracle(self) -> dict[str, Any] | None:
        """The same metrics for the simulator's true conditional expectation: the best that can be reached."""
        found = self.snapshot.metrics["oracle"]
        return None if found is None else dict(found)

    @property
    def intervals(self) -> dict[str, dict[str, Any]] | None:
        """Metric → ``low``, ``high``, ``level``, for the mean ICs ``t`` and ``p``; None when that is switched off."""
        found = self.snapshot.metrics["intervals"]
        return None if found is None else dict(found)

    def predictions(self) -> Predictions:
        """Read the predictions of all windows."""
        return Predictions.read_parquet(self.folder / _PREDICTIONS)


def run_experiment(
    overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = (), observer: Observer | None = None
) -> ExperimentResult:
    """Run one experiment; what `bench run` does, for notebooks.

    Parameters
    ----------
    overrides
        Hydra overrides, such as ``["data=cn_csi300", "windows.step=20"]``.
    search_path
        Folders with further configuration groups.
    observer
        Told about progress; silent by default.

    Raises
    ------
    HarnessError
        For a mistake in the configuration or the data.
    """
    return run(compose_config(overrides, search_path=search_path), observer or Silent())


def describe_experiment(config: ExperimentConfig) -> str:
    """Return canonical JSON of everything configured that can change a number: equal text, equal result."""
    return canonical_json({"case": config.case, "data": describe(config.data), **_settings(config)})


def run(config: ExperimentConfig, observer: Observer, store: ArtifactStore | None = None) -> ExperimentResult:
    """Run a composed configuration: panel → windows → result → snapshot."""
    watch = Stopwatch()
    store = store or ArtifactStore(Path(config.output.store))
    stages = Stages(config, store, watch, observer)
    panel = stages.panel()
    windows = resolve_windows(config.windows, panel.calendar, config.label.look_ahead)
    key = _result_key(config, stages, panel, windows)
    found = store.find(key)
    folder = found or store.get_or_make(key, lambda target: _Job(stages, panel, windows, target).make())
    identity = _identity(config, panel, windows, folder)
    snapshot = Snapshot(
        suite=config.suite,
        case=config.case_name,
        identity=identity,
        metrics=json.loads((folder / _METRICS).read_text(encoding="utf-8")),
        provenance={
            **provenance(watch, modules_of(config.data, _settings(config))),
            "command": list(config.command),
        },
    )
    published = _publish(config, snapshot, folder)
    return ExperimentResult(config, windows, snapshot, published, reused=found is not None)


@dataclass(frozen=True)
class _Job:
    """One computation of a result, from the sample table to the files of its folder."""

    stages: Stages
    panel: Panel
    windows: tuple[Window, ...]
    folder: Path

    def make(self) -> None:
        table = self.stages.table(self.panel)
        adaptation = self._adapt(table)
        rolled = self._roll(table, adaptation)
        self._judge(rolled)

    def _adapt(self, table: SampleTable) -> FittedAdaptation:
        config = self.stages.config
        log = ViewLog(table)
        history = History(
            as_of=log.as_of,
            windows=self.windows,
            segment=Segment(self.windows[0].train.start, self.windows[-1].learn_stop),
            step=config.windows.step,
            seed=config.seed,
            observer=self.stages.observer,
        )
        with self.stages.watch.stage("adaptation"):
            fitted = config.adaptation.fit(history)
        learned = {"views": log.artefacts("adaptation"), "artefacts": getattr(fitted, "artefacts", ())}
        record = {name: [asdict(artefact) for artefact in found] for name, found in learned.items()}
        (self.folder / _ARTEFACTS).write_text(canonical_json(record, indent=1), encoding="utf-8")
        return fitted

    def _roll(self, table: SampleTable, adaptation: FittedAdaptation) -> RollingResult:
        config = self.stages.config
        cache = Cache(
            store=self.stages.store,
            table=self.stages.table_key(self.panel).digest,
            code=code_digest("harness.rolling", *modules_of(config.model, config.preprocess)),
        )
        recipe = Recipe(config.preprocess, adaptation, config.model, config.windows.step)
        with self.stages.watch.stage("windows"):
            return roll(table, self.windows, recipe, cache=cache, observer=self.stages.observer)

    def _judge(self, rolled: RollingResult) -> None:
        config, predictions = self.stages.config, rolled.predictions
        with self.stages.watch.stage("evaluation"):
            evaluation = evaluate(predictions, self.panel, config.evaluation, horizon=config.label.horizon)
            oracle = None
            truth = _truth(self.panel, predictions, config)
            if truth is not None:
                oracle = evaluate(truth, self.panel, config.evaluation, horizon=config.label.horizon)
        metrics = {
            "overall": evaluation.overall,
            "per_window": evaluation.per_window,
            "per_year": evaluation.per_year,
            "intervals": self._intervals(evaluation),
            "oracle": None if oracle is None else oracle.overall,
            "predictions": predictions.digest,
        }
        predictions.write_parquet(self.folder / _PREDICTIONS)
        evaluation.write_series(self.folder / _SERIES)
        (self.folder / _METRICS).write_text(canonical_json(metrics, indent=1), encoding="utf-8")
        reads = [asdict(r) for r in rolled.reads]
        (self.folder / _READS).write_text(canonical_json(reads, indent=1), encoding="utf-8")
        resolved = {"features": list(self.stages.feature_names(self.panel)), "dropped": self._dropped}
        (self.folder / _RESOLVED).write_text(canonical_json(resolved, indent=1), encoding="utf-8")

    def _intervals(self, evaluation: Evaluation) -> dict[str, dict[str, float | None]] | None:
        criteria, label = self.stages.config.evaluation, self.stages.config.label
        if criteria.significance is None:
            return None
        judged = Judged(criteria.signal, criteria.portfolio, label.look_ahead, label.horizon)
        with self.stages.watch.stage("significance"):
            return intervals(evaluation, judged, criteria.significance)

    @property
    def _dropped(self) -> list[str]:
        return self.stages.dropped_features(self.panel)


def _truth(panel: Panel, predictions: Predictions, config: ExperimentConfig) -> Predictions | None:
    """Return the simulator's expectation of the label as a prediction; the label spans the steps 2 … look-ahead."""
    if panel.truth is None or config.label.horizon is None:
        return None
    expected = panel.truth.expected_return(2, config.label.look_ahead)  # (T, N)
    times = np.repeat(np.arange(predictions.start, predictions.stop), np.diff(predictions.offsets))
    return replace(predictions, score=expected[times, predictions.codes])


def _settings(config: ExperimentConfig) -> dict[str, object]:
    """Everything configured that can change a number, but for the data, which count by their content."""
    groups = ("features", "label", "samples", "windows", "preprocess", "model", "adaptation", "evaluation", "seed")
    return {name: describe(getattr(config, name)) for name in groups}


def _result_key(config: ExperimentConfig, stages: Stages, panel: Panel, windows: tuple[Window, ...]) -> Key:
    settings = _settings(config)
    return key_of(
        "result",
        table=stages.table_key(panel).digest,
        settings=settings,
        windows=describe_windows(windows, panel.calendar),
        code=code_digest("harness.experiment", *modules_of(settings)),
    )


def _identity(config: ExperimentConfig, panel: Panel, windows: tuple[Window, ...], folder: Path) -> dict[str, Any]:
    return {
        "config": _settings(config),
        "data": {"name": panel.name, "fingerprint": panel.fingerprint},
        "look_ahead": config.label.look_ahead,
        "features": json.loads((folder / _RESOLVED).read_text(encoding="utf-8")),
        "windows": describe_windows(windows, panel.calendar),
    }


def _publish(config: ExperimentConfig, snapshot: Snapshot, folder: Path) -> Path:
    """Copy the result beside its snapshot, which is written last: where it stands, everything stands."""
    target = Path(config.output.runs) / f"{config.case_name}-{identity_digest(snapshot.identity)[:12]}"
    for name in (_PREDICTIONS, _SERIES, _METRICS, _READS, _ARTEFACTS):
        write_atomically(target / name, (folder / name).read_bytes())
    write_snapshot(snapshot, target / "snapshot.json")
    return target

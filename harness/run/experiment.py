"""The pipeline, readable as a table of contents: one configuration in, one result out."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.config import ExperimentConfig, compose_config
from harness.errors import ConfigError, no_exit
from harness.errors.redaction import without_secrets
from harness.evaluation.evaluate import year_of
from harness.evaluation.metrics import columns_of, metrics_of
from harness.evaluation.predictions import Predictions
from harness.execution.machine import peak_memory_mb
from harness.execution.progress import Observer, PlainObserver, Silent
from harness.run import pipeline as stages
from harness.run.pipeline import Pipeline, settings_of
from harness.run.schedule import describe_windows
from harness.run.stages import Cache
from harness.run.status import record_of
from harness.samples.windows import Window
from harness.snapshots.provenance import Cost
from harness.snapshots.snapshot import Snapshot, sha256, write_snapshot
from harness.store.artifacts import canonical_json
from harness.store.files import write_changed
from harness.store.records import describe

_NOT_CHOSEN = ("executor", "output", "tracking")  # groups that say where, not what


@dataclass(frozen=True, eq=False)
class ExperimentResult:
    """What a run leaves behind.

    Attributes:
        folder: Holds ``snapshot.json``, ``predictions.parquet``, ``series.parquet``, ``metrics.json``, with a portfolio
            ``orders.parquet`` and ``positions.parquet``, and what was read: ``reads.json`` by each window's fitting,
            ``artefacts.json`` by the adaptation; in ``adaptation`` what that has learned, when it saves anything.
        reused: True when the store held the whole result already.
        cost: What it took to get it, this time.
        seconds_elsewhere: What workers spent on it, before this process took it from the store.
    """

    config: ExperimentConfig
    windows: tuple[Window, ...]
    snapshot: Snapshot
    folder: Path
    reused: bool
    cost: Cost = field(default_factory=Cost)
    seconds_elsewhere: float | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The overall metrics of the predictions by name; None where undefined."""
        return dict(self.snapshot.metrics["overall"])

    @property
    def oracle(self) -> dict[str, Any] | None:
        """The same metrics for the simulator's true conditional expectation: the best that can be reached."""
        found: dict[str, Any] | None = self.snapshot.metrics["oracle"]
        return found

    @property
    def references(self) -> dict[str, dict[str, Any]]:
        """Name of a reference forecast → the same metrics for it; empty where errors of series are not judged."""
        return dict(self.snapshot.metrics.get("references") or {})

    @property
    def intervals(self) -> dict[str, dict[str, Any]] | None:
        """Metric → ``low``, ``high``, ``level``, for the mean ICs ``t`` and ``p``; None when that is switched off."""
        found: dict[str, dict[str, Any]] | None = self.snapshot.metrics["intervals"]
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the metrics: what is undefined, missing or taken otherwise, with counts."""
        return tuple(self.snapshot.metrics.get("notes", ()))

    def _repr_html_(self) -> str:
        """Show the metrics in a notebook: a row for the run, one for its intervals, one for the oracle."""
        metrics = columns_of(metrics_of(self.snapshot.identity), (self.metrics, self.oracle or {})).values()
        rows = [["", *(metric.heading for metric in metrics)]]
        rows.append([self.snapshot.case, *(metric.text(self.metrics.get(metric.name)) for metric in metrics)])
        if (known := self.intervals) is not None:
            reach = (metric.interval(self.metrics.get(metric.name), known.get(metric.name)) for metric in metrics)
            rows.append(["interval", *(text or "–" for text in reach)])
        if (oracle := self.oracle) is not None:
            rows.append(["oracle", *(metric.text(oracle.get(metric.name)) for metric in metrics)])
        head, *body = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows)
        lines = (f"<tr>{row}</tr>" for row in body)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{notes}"

    def predictions(self) -> Predictions:
        """Read the predictions of all windows."""
        return Predictions.read_parquet(self.folder / stages.PREDICTIONS)


def run_experiment(
    overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = (), observer: Observer | None = None
) -> ExperimentResult:
    """Run one experiment; what `bench run` does, for notebooks.

    Args:
        overrides: Hydra overrides, such as ``["data=cn_csi300", "windows.step=20"]``.
        search_path: Folders with further configuration groups.
        observer: Told about progress; silent by default. ``harness.PlainObserver(print)`` writes a line every ten
            seconds.

    Raises:
        HarnessError: For a mistake in the configuration or the data, and for an ``audit``: that is an outsider, see
            `harness.audit.run_audited`.
    """
    config = compose_config(overrides, search_path=search_path)
    if config.audit != "none":
        hint = "harness.audit.run_audited(compose_config(overrides), Silent()) does"
        raise ConfigError("run_experiment does not audit.", where="audit", got=config.audit, expected="none", hint=hint)
    if isinstance(observer, PlainObserver):  # writes on its own while one long fit tells nothing
        with observer:
            return run(config, observer)
    return run(config, observer or Silent())


def describe_experiment(config: ExperimentConfig) -> str:
    """Return canonical JSON of everything configured that can change a number: equal text, equal result."""
    return canonical_json({"case": config.case, "data": describe(config.data), **settings_of(config)})


@no_exit()
def run(
    config: ExperimentConfig, observer: Observer, cache: Cache | None = None, folder: Path | None = None
) -> ExperimentResult:
    """Run a composed configuration: panel → windows → table → adaptation → predictions → evaluation → snapshot.

    `cache`: where stages are found or kept; the configured store by default. `folder`: where the result goes; by
    default one under ``output.runs`` that its case and its digest name.
    """
    store = Path(config.output.store)
    if cache is not None and cache.store.root.absolute() != store.absolute():
        return _run(config, observer, cache, folder)  # an audit's: not what others have asked for
    with record_of(store).running(config, observer) as watching:
        result = _run(config, watching, cache, folder)
        watching.ended(result.cost.windows, result.cost.windows - result.cost.stored)
        return result


def _run(config: ExperimentConfig, observer: Observer, cache: Cache | None, folder: Path | None) -> ExperimentResult:
    began, used = time.perf_counter(), time.process_time()
    pipeline = Pipeline(config, cache, observer=observer)
    reused = pipeline.cache.store.find(pipeline.result_stage.key) is not None
    if not reused:
        pipeline.check()
    made = pipeline.cache.get(pipeline.result_stage)
    snapshot = Snapshot(
        suite=config.suite,
        case=config.case_name,
        identity=_identity(pipeline, made),
        metrics=_record(made / stages.METRICS),
        provenance={
            **_record(made / stages.PROVENANCE),
            "command": list(config.command),
            "choices": {k: v for k, v in config.choices.items() if k not in _NOT_CHOSEN and v != "None"},
        },
    )
    published, fitted = _publish(config, snapshot, made, folder), pipeline.watch.fitted
    cost = Cost(
        wall=time.perf_counter() - began,
        cpu=time.process_time() - used,
        windows=len(pipeline.windows),
        stored=len(pipeline.windows) - fitted,
        memory_mb=peak_memory_mb(),
    )
    return ExperimentResult(config, pipeline.windows, snapshot, published, reused, cost)


def _identity(pipeline: Pipeline, folder: Path) -> dict[str, Any]:
    config, panel, criteria = pipeline.config, pipeline.outline, pipeline.config.evaluation
    year = year_of(panel.calendar, criteria.periods_per_year, criteria.rules)
    return {
        "config": without_secrets(settings_of(config)),
        "data": {"name": panel.name, "fingerprint": panel.fingerprint},
        "look_ahead": config.label.look_ahead,
        "year": {"periods": year.periods, "source": year.source},
        "features": _record(folder / stages.RESOLVED),
        "windows": describe_windows(pipeline.windows, panel.calendar),
    }


def _record(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _publish(config: ExperimentConfig, snapshot: Snapshot, made: Path, folder: Path | None) -> Path:
    """Copy the result beside its snapshot, which is written last: where it stands, everything stands."""
    # Code of the user's own identifies no result, but a run of other code must not take the place of an earlier one.
    user = snapshot.provenance["user_code"]
    own = "" if user is None else f"-{user['digest'][:8]}"
    target = folder or Path(config.output.runs) / f"{config.case_name}-{sha256(snapshot.identity)[:12]}{own}"
    learned = sorted(p.relative_to(made) for p in (made / stages.ADAPTATION).rglob("*") if p.is_file())
    traded = [name for name in stages.TRADES if (made / name).is_file()]
    for name in (*stages.PUBLISHED, *traded, *map(str, learned)):
        write_changed(target / name, (made / name).read_bytes())
    write_snapshot(snapshot, target / "snapshot.json")
    return target

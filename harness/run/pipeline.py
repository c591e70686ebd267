"""The stages of one experiment: what a run walks through, workers share out, a plan counts and an audit replays."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness.config import ExperimentConfig
from harness.config.instantiate import check_object
from harness.data.panel import Outline, Panel, load_panel, save_panel
from harness.data.source import Source
from harness.errors import DataError
from harness.errors.limits import traits_of
from harness.evaluation.errors import Target, reference_forecasts
from harness.evaluation.evaluate import Evaluation, evaluate, group_intervals, intervals
from harness.evaluation.portfolio.ledger import ORDERS, POSITIONS
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Observer, Silent, telling
from harness.features.engine import check_fields, compute_expression, reach_of
from harness.features.expression import parse
from harness.run.ahead import load_ahead
from harness.run.feature_chunks import FeatureChunks, Names
from harness.run.field_digests import FieldDigests
from harness.run.forecasts import truth_of
from harness.run.rolling import Recipe, RollingResult, WalkForward
from harness.run.schedule import check, describe_windows, resolve_windows
from harness.run.stages import Cache, Files, Stage, files_of
from harness.samples import interfaces
from harness.samples.interfaces import FittedAdaptation, History, Stored, WindowPlanner
from harness.samples.table import FitRecord, RowIndex, SampleTable, ViewLog, index_rows
from harness.samples.windows import Segment, Window
from harness.snapshots.provenance import Stopwatch, provenance
from harness.store.artifacts import Key, canonical_json, key_of
from harness.store.code_digest import code_digest
from harness.store.codec import load, save
from harness.store.records import content_of, describe, modules_of

PREDICTIONS, SERIES, METRICS = "predictions.parquet", "series.parquet", "metrics.json"
READS, ARTEFACTS, RESOLVED, ADAPTATION = "reads.json", "artefacts.json", "resolved.json", "adaptation"
PROVENANCE = "provenance.json"
PUBLISHED = (PREDICTIONS, SERIES, METRICS, READS, ARTEFACTS)  # beside the snapshot; and with a portfolio:
TRADES = (ORDERS, POSITIONS)
_VIEWS = "views"
_GROUPS = ("features", "label", "samples", "windows", "preprocess", "model", "adaptation", "evaluation", "seed")
Value = TypeVar("Value")
Arrays = npt.NDArray[Any]
Fitted = FittedAdaptation | WindowPlanner
Logged = tuple[Value, tuple[FitRecord, ...]]
"""A value, and what was read to make it."""


def settings_of(config: ExperimentConfig) -> dict[str, object]:
    """Return everything configured that can change a number, but for the data, which count by their content.

    Secrets stand in it, so that other values are other results: `without_secrets` before it is written.
    """
    return {name: describe(getattr(config, name)) for name in _GROUPS}


def panel_key_of(source: Source) -> Key:
    """Return what identifies a source's panel: how it is read, the content of its files, and the code that reads it."""
    return key_of("panel", source=describe(source), inputs=source.inputs(), code=code_digest(*modules_of(source)))


class Pipeline:
    """One experiment as its stages, each made at most once.

    Args:
        cache: Where stages are found or kept; the configured store by default.
        panel: Stands in for the configured source's.
        panel_key: The panel's, where another process has looked at the source already.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        cache: Cache | None = None,
        *,
        observer: Observer | None = None,
        panel: Panel | None = None,
        panel_key: Key | None = None,
    ) -> None:
        self.config = config
        self.cache = cache or Cache.of(config, lone=True)
        self.watch, self.observer = Stopwatch(), observer or Silent()
        self._panel, self._panel_key = panel, panel_key

    def batches(self, divided: Callable[[Stage[Any]], bool] = lambda _: True) -> Iterator[Sequence[Stage[Any]]]:
        """Yield the stages that workers make, in batches: each needs all earlier ones, and none of its own.

        What is worth it is `divided`: features by instruments and then by times, sums by times, and the adaptation into
        its subtasks, which are known only when the table is there.
        """
        if divided(self.table_stage):
            chunks = [self.chunks.stage(k) for k in range(len(self.chunks.borders))]
            parts = [one for one in self.chunks.parts if any(map(divided, chunks[slice(*one.chunks)]))]
            yield [self.chunks.part_stage(one) for one in parts]
            yield chunks
        yield [self.table_stage]
        if divided(self.adaptation_stage):
            yield from self.subtasks
        yield [self.adaptation_stage]
        yield [self.walk.processed]
        if divided(self.walk.processed):
            yield self.walk.sums
        windows = [self.walk.window(at) for at in range(len(self.windows))]
        yield from ([window] for window in windows) if self.walk.chained else [windows]
        yield [self.result_stage]

    # Panel and schedule

    @cached_property
    def panel_stage(self) -> Stage[Panel]:
        source, text = self.config.data, canonical_json(describe(self.config.data))
        # A sweep looks at a source once: its cells are about the same files, whatever happens to them meanwhile.
        key = partial(self.cache.memory.get, "source", text, lambda: panel_key_of(source))

        def identify() -> Key:
            return self._panel_key or key()

        def read() -> Panel:
            panel = source.load()
            if panel_key_of(source).digest != identify().digest:  # it would be found as what was there before
                what, expected = "The data were changed while they were read.", "files that stay as they are meanwhile"
                hint = "write new files elsewhere and rename them when they are finished; then run it again"
                raise DataError(what, where="data", expected=expected, hint=hint)
            return panel

        return Stage("panel", identify, read, save_panel, load_panel)

    @cached_property
    def panel(self) -> Panel:
        if self._panel is None and not self.cache.holds(self.panel_stage):
            load_ahead(self.config.features.feature_set())  # while it is read
        return self._panel or self._get(self.panel_stage, "panel")

    @property
    def outline_stage(self) -> Stage[Outline]:
        def make() -> Outline:
            return Outline(self.panel.calendar, self.panel.fingerprint, self.panel.name)

        key = partial(key_of, "outline", panel=self.panel_stage.key.digest)
        return Stage("outline", key, make, *files_of(Outline, mapped=False))

    @cached_property
    def outline(self) -> Panel | Outline:
        """What the keys of results need of the panel, without opening one that the store has."""
        return self._panel or self.cache.get(self.outline_stage)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        return resolve_windows(self.config.windows, self.outline.calendar, self.config.label.look_ahead)

    def check(self) -> None:
        """Refuse what panel and configuration alone say cannot be judged, see `harness.run.schedule.check`.

        Experiments that share a memory cache and ask the same are checked once.
        """
        config = self.config
        parts = [config.label, config.features, config.samples, config.evaluation]
        asked = [self.outline.fingerprint, [describe(part) for part in parts]]
        text = canonical_json([asked, self._dates])
        self.cache.memory.get("checked", text, lambda: check(config, self.panel, self.windows) is not None)

    # Sample table

    @cached_property
    def rows(self) -> RowIndex:
        return index_rows(self.panel, listed=self.config.samples.rows == "listed")

    @cached_property
    def features_stage(self) -> Stage[Names]:
        """What features there are, and the chunks that hold them."""
        features = self.config.features.feature_set()
        names, expressions = list(features.names), list(features.expressions)
        key = key_of("features", **self._parts_of_rows, names=names, expressions=expressions)
        return Stage("features", lambda: key, lambda: self.chunks.make(), *files_of(Names))

    @cached_property
    def chunks(self) -> FeatureChunks:
        features = self.config.features.feature_set()
        digests = self.digests.of_features
        code = str(self._parts_of_rows["code"])
        return FeatureChunks(self.panel, features, self.rows, digests, code, self.cache, self.observer)

    @cached_property
    def digests(self) -> FieldDigests:
        config, identity = self.config, (self.outline.fingerprint, self.config.samples.rows)
        portfolio = config.evaluation.portfolio
        asked = config.features.feature_set(), config.label.expression_text
        by_index = portfolio is not None and portfolio.trading.benchmark == "index"
        return FieldDigests(self.panel, self.rows, *asked, identity, self.cache.memory, by_index)

    def shown(self, stop: int) -> str:
        """Return what identifies the rows of the table before a position: how they are made, and of what."""
        digests = self.digests.used
        return f"{self._made_by} {digests[min(stop + self._reach, len(digests) - 1)]}"

    @cached_property
    def _reach(self) -> int:
        return reach_of(self.config.features.feature_set())

    @cached_property
    def _made_by(self) -> str:
        features = self.config.features.feature_set()
        expressions = dict(zip(features.names, features.expressions, strict=True))
        parts = {"label": self.config.label.expression_text, "look_ahead": self.config.label.look_ahead}
        chosen = {name: expressions[name] for name in self.table.feature_names}
        return key_of("rows", features=list(chosen.items()), code=self._parts_of_rows["code"], **parts).digest

    @cached_property
    def label_stage(self) -> Stage[Arrays]:
        """(n,) float32 label of every row."""
        key = key_of("label", **self._parts_of_rows, expression=self.config.label.expression_text)
        return Stage("label", lambda: key, self._compute_label, *files_of(np.ndarray))

    @cached_property
    def table_stage(self) -> Stage[SampleTable]:
        needs = (self.features_stage, self.label_stage)
        key = Key("table", "-".join(one.key.digest for one in needs), "")
        return Stage("table", lambda: key, self._assemble_table, needs=needs, remembered=True)

    @cached_property
    def table(self) -> SampleTable:
        """The raw sample table, memory-mapped; raises `DataError` when no row has features or a label."""
        return self.cache.get(self.table_stage)

    @cached_property
    def _parts_of_rows(self) -> dict[str, Any]:
        code = code_digest("harness.features.engine", "harness.samples.table")
        return {"panel": self.outline.fingerprint, "rows": self.config.samples.rows, "code": code}

    def _assemble_table(self) -> SampleTable:
        # Before the store is asked: a preset may have left the same features there, without those that it dropped.
        expressions = {"label": parse(self.config.label.expression_text)}
        check_fields(self.panel, {**expressions, **self.config.features.feature_set().asked_for()})
        features, label = self._get(self.features_stage, "table"), self._get(self.label_stage, "label")
        table = SampleTable(
            calendar=self.panel.calendar,
            instruments=self.panel.instruments,
            index=self.rows,
            features=self.chunks.matrix(features.names),
            feature_names=features.names,
            label=label,
            look_ahead=self.config.label.look_ahead,
        )
        hints = (
            "`bench data info` shows the membership and the dates of the panel",
            f"the calendar may be shorter than the look-ahead of {self.config.label.expression_text}",
        )
        for is_empty, what, where, hint in (
            (len(table) == 0, "The panel has no rows: nobody in the universe has a price.", "data", hints[0]),
            (not table.feature_names, "Every feature is missing in every row.", "features", None),
            (np.isnan(table.label).all(), "No row has a label.", "label", hints[1]),
        ):
            if is_empty:
                raise DataError(what, where=where, hint=hint)
        return table

    def _compute_label(self) -> Arrays:
        rows, values = self.rows, compute_expression(self.panel, self.config.label.expression_text)  # (T, N)
        label = values[rows.times(0, len(self.panel.calendar)), rows.codes]
        return np.where(np.isfinite(label), label, np.float32(np.nan))

    # Adaptation

    @cached_property
    def adaptation_stage(self) -> Stage[Logged[Fitted]]:
        """The fitted adaptation: no model, no evaluation; one that cannot be read back is fitted by every process."""
        adaptation = self.config.adaptation

        def fit() -> Fitted:
            fitted = adaptation.fit(self._history)
            does_more = isinstance(fitted, WindowPlanner)
            check_object(fitted, WindowPlanner if does_more else FittedAdaptation, "adaptation.fit")
            return fitted

        asked = {"windows": self._dates, "step": self.config.windows.step, "seed": self.config.seed}
        key = partial(self._adaptation_key, "adaptation", adaptation=describe(adaptation), **asked)
        files = None
        if isinstance(adaptation, interfaces.StoredAdaptation):
            files = (lambda fitted, folder: fitted.save(folder)), adaptation.load
        return self._logged("adaptation", key, fit, files)

    @cached_property
    def adaptation(self) -> Fitted:
        found, views = self._get(self.adaptation_stage, "adaptation")
        self._log.tell(views)
        return found

    @cached_property
    def subtasks(self) -> list[list[Stage[object]]]:
        # Kept from one subtask to the next: what they have in common is made once per process.
        adaptation, number = self.config.adaptation, itertools.count()
        if not isinstance(adaptation, interfaces.DividedAdaptation):
            return []
        key = partial(self._adaptation_key, "subtask")
        return [
            [Stage("subtask", partial(key, parts=dict(one.parts)), one.make, at=next(number)) for one in batch]
            for batch in adaptation.batches(self._history)
        ]

    @cached_property
    def _log(self) -> ViewLog:
        return ViewLog(self.table)

    @property
    def _history(self) -> History:
        return History(
            as_of=self._log.as_of,
            windows=self.windows,
            segment=Segment(self.windows[0].train.start, self.windows[-1].learn_stop),
            step=self.config.windows.step,
            seed=self.config.seed,
            observer=self.observer,
            cached=self._cached,
            shared=self.cache.shared,
        )

    def _cached(self, stage: str, parts: Mapping[str, object], stored: Stored[Value]) -> Value:
        """Keep an intermediate result of the adaptation by what determines it: data, parts and code."""

        def make() -> Value:
            with telling(self.observer, stage.replace("_", " ")):
                return stored.make()

        key = partial(self._adaptation_key, stage, parts=dict(parts))
        kept = self._logged(stage, key, make, (stored.save, stored.load))
        value, views = self.cache.get(replace(kept, remembered=True))
        self._log.tell(views)  # what was read does not depend on who read it when
        return value

    def _logged(
        self, name: str, key: Callable[[], Key], make: Callable[[], Value], files: Files[Value] | None
    ) -> Stage[Logged[Value]]:
        """Return a stage that keeps, beside its value, what was read to make it; without files it is not stored."""

        def make_both() -> Logged[Value]:
            mark = self._log.mark
            return make(), self._log.fit_records(name, since=mark)

        if files is None:
            return Stage(name, key, make_both, local=True)
        save_value, load_value = files

        def save_both(made: Logged[Value], folder: Path) -> None:
            save_value(made[0], folder)
            save(folder, made[1], _VIEWS)

        def load_both(folder: Path) -> Logged[Value]:
            return load_value(folder), load(folder, tuple[FitRecord, ...], _VIEWS)

        return Stage(name, key, make_both, save_both, load_both)

    def _adaptation_key(self, stage: str, **parts: object) -> Key:
        return key_of(stage, table=self.table_stage.key.digest, code=self._adaptation_code, **parts)

    @cached_property
    def _adaptation_code(self) -> str:
        return code_digest("harness.samples.interfaces", *modules_of(describe(self.config.adaptation)))

    # Windows and result

    @cached_property
    def walk(self) -> WalkForward:
        config, table_key = self.config, self.table_stage.key.digest
        recipe = Recipe(config.preprocess, self.adaptation, config.model, config.windows.step)
        planner = self._planner_key(self.adaptation) if isinstance(self.adaptation, WindowPlanner) else ""
        return WalkForward(self.table, self.windows, recipe, self.cache, table_key, self.observer, planner, self.shown)

    def _planner_key(self, planner: WindowPlanner) -> str:
        """Return what identifies a fitted planner: its content, or, where that cannot be told, all it may have seen."""
        try:
            content = content_of(planner)
        except TypeError:
            return self.adaptation_stage.key.digest
        code = code_digest("harness.samples.interfaces", *modules_of(content, self.config.adaptation))
        return key_of("planner", content=content, code=code).digest

    @cached_property
    def result_stage(self) -> Stage[Path]:
        settings, table = settings_of(self.config), self.table_stage.key.digest
        code = code_digest("harness.run.pipeline", *modules_of(settings))
        key = key_of("result", table=table, settings=settings, windows=self._dates, code=code)
        return Stage("result", lambda: key, self._predict, self._save_result, lambda folder: folder)

    @cached_property
    def _dates(self) -> list[dict[str, object]]:
        return describe_windows(self.windows, self.outline.calendar)

    def _predict(self) -> RollingResult:
        walk, _ = self.walk, self.digests.rest  # the latter goes on meanwhile
        with self.watch.stage("windows"):
            rolled = walk.run()
        self.watch.fitted += rolled.fitted
        if len(rolled.seconds) == len(self.windows):
            self.watch.windows = rolled.seconds
        return rolled

    def _judge(self, predictions: Predictions, same_unit: bool) -> tuple[Evaluation, dict[str, Any]]:
        config, label, asked = self.config, self.config.label, (self.panel, self.config.evaluation)
        spans: dict[str, Any] = {"horizon": label.horizon, "look_ahead": label.look_ahead}
        target = None if label.target is None else Target(*label.target)
        found, more = None, dict[str, Any]()
        with telling(self.observer, "evaluation"):
            with self.watch.stage("evaluation"):
                given = copy.deepcopy(predictions)  # metrics of the user's may write into it
                evaluation = evaluate(given, *asked, **spans, same_unit=same_unit, target=target)
                truth = truth_of(self.panel, predictions, label.horizon, label.look_ahead)
                oracle = None if truth is None else evaluate(truth, *asked, **spans, same_unit=True)
                if config.evaluation.errors is not None and target is not None and same_unit:
                    made = reference_forecasts(predictions, self.panel, target)
                    judged = (predictions.with_score(score) for score in made.values())
                    overall = [evaluate(one, *asked, **spans, target=target).overall for one in judged]
                    more["references"] = dict(zip(made, overall, strict=True))
                    more["groups"] = list(evaluation.groups)
            if (significance := config.evaluation.significance) is not None:
                with self.watch.stage("significance"):
                    found = intervals(evaluation, config.evaluation, significance, **spans, observer=self.observer)
                    parts = group_intervals(evaluation, significance, look_ahead=label.look_ahead)
                    if parts:
                        both = zip(evaluation.groups, parts, strict=True)
                        more["groups"] = [{**group, "intervals": bounds} for group, bounds in both]
        return evaluation, {
            "overall": evaluation.overall,
            "per_window": evaluation.per_window,
            "per_year": evaluation.per_year,
            "intervals": found,
            "oracle": None if oracle is None else oracle.overall,
            "predictions": predictions.digest,
            "notes": list(evaluation.notes),
            **more,
        }

    @property
    def keeps_label_unit(self) -> bool:
        """Whether scores are in the unit of the raw label, so that errors of a forecast mean something."""
        return traits_of(self.config.preprocess, interfaces.PreprocessTraits, "preprocess").keeps_label_unit

    def save_judged(self, predictions: Predictions, folder: Path, *, same_unit: bool) -> None:
        """Judge predictions by the configured criteria, and write them with series and metrics into a folder."""
        # Arrow writes without the interpreter lock; what goes wrong there is told when they have been judged. What is
        # kept is what was forecast, whatever a metric does to what it is given.
        with ThreadPoolExecutor(1, thread_name_prefix="predictions") as beside:
            written = beside.submit(predictions.write_parquet, folder / PREDICTIONS)
            evaluation, metrics = self._judge(predictions, same_unit)
            written.result()
        evaluation.write_series(folder / SERIES)
        if evaluation.account is not None:
            evaluation.account.ledger.write(folder)
        _write(folder / METRICS, metrics)

    def _save_result(self, rolled: RollingResult, folder: Path) -> None:
        self.save_judged(rolled.predictions, folder, same_unit=self.keeps_label_unit)
        _write(folder / READS, rolled.reads)
        features = self.cache.get(self.features_stage)
        _write(folder / RESOLVED, {"features": features.names, "dropped": features.dropped})
        learned = folder / ADAPTATION
        learned.mkdir()
        self.adaptation.save(learned)
        if not any(learned.iterdir()):
            learned.rmdir()
        records = traits_of(self.adaptation, interfaces.AdaptationTraits, "adaptation").fit_records
        _write(folder / ARTEFACTS, {"views": self._log.fit_records(ADAPTATION), "artefacts": records})
        # With the result, so that whoever finds it in the store learns who computed it, not who looked.
        self.save_provenance(
            folder, windows=self.digests.traces(rolled.predictions, self.windows, self.config.label.look_ahead)
        )

    def save_provenance(self, folder: Path, **more: object) -> None:
        made = provenance(self.watch, modules_of(self.config.data, settings_of(self.config)))
        _write(folder / PROVENANCE, {**made, **more})

    def _get(self, stage: Stage[Value], event: str) -> Value:
        with self.watch.stage(stage.name), telling(self.observer, event):
            return self.cache.get(stage)


def _write(path: Path, value: object) -> None:
    path.write_text(canonical_json(value, indent=1), encoding="utf-8", newline="\n")

"""The audit of one configuration: what costs nothing, and what computes it again in other worlds."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from harness.audit.poison import is_copy
from harness.audit.replay import ProgressOnly, Replay
from harness.audit.trial import Trial
from harness.audit.verdict import Check, Finding, Frontier, Level, Verdict
from harness.config import ExperimentConfig
from harness.data.validation import PRICES
from harness.errors import LookAheadError
from harness.errors.limits import traits_of
from harness.execution.progress import Observer, Silent
from harness.features.expression import look_ahead, parse
from harness.run.experiment import ExperimentResult, run
from harness.run.pipeline import Pipeline
from harness.run.schedule import learning_segments
from harness.run.stages import Cache
from harness.samples.interfaces import AdaptationTraits
from harness.samples.table import index_rows
from harness.store.artifacts import ArtifactStore

_EXACT = 1e-6  # of a metric that is computed again from the same predictions


def audit(
    config: ExperimentConfig,
    level: Level,
    observer: Observer | None = None,
    store: ArtifactStore | None = None,
    cuts: int | None = None,
) -> Verdict:
    """Run a configuration, or find its result in the store, and audit it.

    Args:
        config: What to audit; a user's own classes are black boxes.
        level: ``none``; ``static``: what a finished run tells; ``sampled``: two poisoned futures; ``full``: a poisoned
            future after every decision, and every other check.
        observer, store: Told about progress; the artifact store, the configured one by default.
        cuts: How many decisions a full audit looks at, evenly spread over the windows; every one by default.

    Raises:
        HarnessError: When the harness refuses the configuration for another reason than a look ahead: that is found.
    """
    observer = observer or Silent()
    try:
        result = run(config, observer, None if store is None else Cache(store))
    except LookAheadError as error:
        details = ("" if value is None else str(value) for value in (error.where, error.got, error.expected))
        refusal = Check.of("reads", [Finding(error.what, *details)])
    except ValueError as error:
        if "read-only" not in str(error) and "WRITEABLE" not in str(error):
            raise
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        where = f"{Path(frame.f_code.co_filename).name}:{line}"
        finding = Finding("The code changes its inputs, which are read-only.", where, str(error))
        refusal = Check.of("inputs", [finding])
    else:
        return audit_result(config, result, level, observer=observer, store=store, cuts=cuts)
    return Verdict(level, config.case_name, (refusal,))


def audit_result(
    config: ExperimentConfig,
    result: ExperimentResult,
    level: Level,
    *,
    observer: Observer | None = None,
    store: ArtifactStore | None = None,
    cuts: int | None = None,
) -> Verdict:
    """Audit a finished run; parameters and return value as in `audit`."""
    if level is Level.NONE:
        return Verdict(level, config.case_name, ())
    observer = observer or Silent()
    store = store or ArtifactStore(Path(config.output.store))
    replay = Replay(result, Pipeline(config, Cache(store), observer=observer), ProgressOnly(observer))
    static = {"reads": _reads, "borders": _borders, "rows": _rows, "judgement": _judgement}
    checks = [Check.of(name, ask(replay)) for name, ask in static.items()]
    frontiers, predictions = _recorded_frontiers(replay), replay.predictions
    if level is not Level.STATIC:
        store.root.mkdir(parents=True, exist_ok=True)
        # Beside the store, so that poisoned stages, which nobody needs again, do not stay in it.
        scratch = TemporaryDirectory(prefix=".audit-", dir=store.root, ignore_cleanup_errors=True)
        with scratch as folder:
            trial = Trial(replay, Path(folder).resolve(), cuts)
            checks += trial.sampled() if level is Level.SAMPLED else trial.full()
            # A leak makes the frontier meaningless, and its code may fail on it.
            if level is Level.FULL and not any(check.findings for check in checks):
                frontiers = trial.frontiers()
    period = f"{replay.date(predictions.start)} … {replay.date(predictions.stop - 1)}"
    subject = f"{len(result.windows)} windows, test {period}, {predictions.score.size:,} predictions"
    return Verdict(level, config.case_name, tuple(checks), frontiers, subject)


def _recorded_frontiers(replay: Replay) -> tuple[Frontier, ...]:
    """Return, per window, the newest labels that its fitting read, as its views recorded it."""
    config, found = replay.config, []
    ahead = config.label.look_ahead
    for record, window in zip(_record(replay, "reads.json"), replay.windows, strict=True):
        known = max(record[part]["label_known"] for part in ("model", "early_stopping"))
        newest = oldest = waste = None
        if known >= ahead:
            newest, oldest = replay.date(known - ahead), replay.date(learning_segments(window, config.model)[0].start)
            waste = window.decision - config.windows.embargo - known
        decision = replay.date(window.decision)
        found.append(Frontier(window.index, decision, newest, oldest, waste, perturbed=False))
    return tuple(found)


def _record(replay: Replay, name: str) -> Any:
    return json.loads((replay.result.folder / name).read_text(encoding="utf-8"))


def _reads(replay: Replay) -> Iterator[Finding]:
    """Hold what views recorded against each window's decision, and the adaptation's first use and every decision.

    An adaptation may name leaks of its own: what it learned beyond a decision by design.
    """
    for record in _record(replay, "reads.json"):
        for part in ("preprocess", "model", "early_stopping", "plan"):
            name = part.replace("_", " ")
            yield from _late(replay, f"The {name}", f"window {record['window']}", record["decision"], record[part])
    record = _record(replay, "artefacts.json")
    for fit in record["artefacts"]:
        yield from _late(replay, "The adaptation", fit["name"], fit["decision"], fit["reads"])
    decisions = {window.decision for window in replay.windows}
    for view in record["views"]:
        yield from _late(replay, "The adaptation", "a view", view["decision"], view["reads"])
        if view["decision"] > min(decisions) and view["decision"] not in decisions:
            what = "The adaptation opened a view of a time at which no window is decided."
            expected = f"up to {replay.date(min(decisions))}, or a window's own decision"
            yield Finding(what, "adaptation", replay.date(view["decision"]), expected)
    for leak in traits_of(replay.real.adaptation, AdaptationTraits, "adaptation").leaks:
        yield Finding(f"{leak[:1].upper()}{leak[1:]}.", "adaptation")


def _late(replay: Replay, who: str, where: str, decision: int, reads: dict[str, int]) -> Iterator[Finding]:
    """Yield a finding for features and for labels beyond a decision."""
    # A view counts a label as known by the declared look-ahead; what counts here is the expression's.
    label, known = replay.config.label, reads["label_known"]
    if known >= 0:
        known += look_ahead(parse(label.expression_text)) - label.look_ahead
    for what, at in (("features", reads["feature"]), ("labels known", known)):
        if at > decision:
            said = f"{who} read {what} beyond its decision."
            yield Finding(said, where, replay.date(at), f"at most {replay.date(decision)}")


def _borders(replay: Replay) -> Iterator[Finding]:
    config, date = replay.config, replay.date
    declared, ahead = config.label.look_ahead, look_ahead(parse(config.label.expression_text))
    if ahead != declared:
        yield Finding("The label says it looks less far ahead than it does.", "label", str(declared), str(ahead))
    features, panel = config.features.feature_set(), replay.real.panel
    for name, expression in zip(features.names, features.expressions, strict=True):
        if look_ahead(parse(expression), panel.known_ahead) > 0:
            yield Finding("A feature looks ahead.", f"feature {name}", expression)
    bar = [name for name in (*PRICES, "volume") if name in panel.fields]
    for name, lead in panel.known_ahead.items() if len(bar) > 1 else ():
        same = next((own for own in bar if own == name or is_copy(panel.fields[name], panel.fields[own])), None)
        if same is not None:
            what = f"What trading comes to is known when its time is over: `{same}` is declared to be known ahead."
            yield Finding(what, f"field {name}", f"known {lead} period(s) ahead", "observed at its time")
    embargo = config.windows.embargo
    for window in replay.windows:
        train, valid = learning_segments(window, config.model)
        borders = [("train", train.last, "valid", valid.start)] if valid is not None else []
        borders.append(("learning", max(train.last, valid.last if valid else -1), "the decision", window.decision))
        for left, last, right, start in borders:
            if last + ahead + embargo > start:
                what = f"Labels of {left} reach beyond the start of {right}."
                expected = f"known by {date(start)}" + (f", {embargo} periods before" if embargo > 0 else "")
                yield Finding(what, f"window {window.index}", f"{date(last)}, known {date(last + ahead)}", expected)


def _rows(replay: Replay) -> Iterator[Finding]:
    predictions, index = replay.predictions, index_rows(replay.real.panel)
    rows = index.rows(predictions.start, predictions.stop)
    width = len(predictions.instruments)
    real = index.times(predictions.start, predictions.stop) * width + index.codes[rows]
    predicted = predictions.row_times * width + predictions.codes
    for keys, what in (
        (np.setdiff1d(predicted, real), "rows are predicted although nobody could trade them"),
        (np.setdiff1d(real, predicted), "tradable rows are not predicted"),
    ):
        if keys.size:
            time, code = divmod(int(keys[0]), width)
            yield Finding(f"{keys.size} {what}.", f"{predictions.instruments[code]} at {replay.date(time)}")


def _judgement(replay: Replay) -> Iterator[Finding]:
    predictions, judged = replay.predictions, replay.judged
    wrong = np.flatnonzero(~np.isclose(judged.label, predictions.label, rtol=0, atol=0, equal_nan=True))
    if wrong.size:
        at = wrong[0]
        what = f"{wrong.size} scores are judged by another label than the configured one."
        when = replay.date(int(predictions.row_times[at]))
        yield Finding(what, when, f"{predictions.label[at]:.6g}", f"{judged.label[at]:.6g}")
    if judged.is_written_into:
        what = "A metric writes into the forecasts that it is given: metrics after it are of other scores or labels."
        yield Finding(what, "evaluation.extra")
    for name, reported in replay.result.metrics.items():
        actual = judged.overall.get(name)
        is_same = reported == actual
        if isinstance(reported, float) and isinstance(actual, float):
            is_same = bool(np.isclose(reported, actual, rtol=_EXACT, atol=_EXACT))
        if not is_same:
            what = f"The reported {name} is not that of the stored scores and the configured label."
            yield Finding(what, "metrics", str(reported), str(actual))

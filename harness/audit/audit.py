"""The audit of one configuration: what costs nothing, what runs it again, and what its code keeps between fits."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.audit.poison import is_copy, label_of
from harness.audit.replay import ProgressOnly, Replay
from harness.audit.trial import Trial
from harness.audit.verdict import Check, Finding, Frontier, Level, Verdict
from harness.config import ExperimentConfig
from harness.data.panel import Panel
from harness.errors import LookAheadError
from harness.execution.progress import Observer, Silent
from harness.features.expression import look_ahead, parse
from harness.run.experiment import ExperimentResult, run
from harness.run.pipeline import Pipeline
from harness.run.rolling import learning_segments
from harness.run.stages import Cache
from harness.samples.table import AsOfView, SampleTable, index_rows
from harness.snapshots.snapshot import write_snapshot
from harness.store.artifacts import ArtifactStore
from harness.store.records import attributes_of

_PARTS = ("adaptation", "preprocess", "model")
_EXACT = 1e-6  # of a recomputed mean IC: both are float64 sums over the same days
_LARGE = 256  # numbers; a table of constants in the source is smaller
_DEPTH = 4
_EXPECTED = "everything that is learned is in what `fit` returns"


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
    before = _numbers(config)
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
        return audit_result(config, result, level, observer=observer, store=store, cuts=cuts, before=before)
    return Verdict(level, config.case_name, (refusal,))


def audit_result(
    config: ExperimentConfig,
    result: ExperimentResult,
    level: Level,
    *,
    observer: Observer | None = None,
    store: ArtifactStore | None = None,
    cuts: int | None = None,
    before: Mapping[str, str] | None = None,
) -> Verdict:
    """Audit a finished run; parameters and return value as in `audit`.

    `before` is what the parts' variables held before the run, where that is known.
    """
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
        replay.outside.watch()
        with scratch as folder:
            trial = Trial(replay, Path(folder), cuts)
            checks += trial.sampled() if level is Level.SAMPLED else trial.full()
            # A leak makes the frontier meaningless, and its code may fail on it.
            if level is Level.FULL and not any(check.findings for check in checks):
                frontiers = trial.frontiers()
        reached = [Finding(f"The code under audit reaches for {what}.") for what in replay.outside.seen]
        checks.append(Check.of("outside", reached))
    # Last, so that it sees what all these runs have left behind.
    kept = [finding for part in _PARTS for finding in kept_data(getattr(config, part))]
    large = {finding.where for finding in kept}
    small = () if before is None else changed_numbers(before, _numbers(config))
    checks.append(Check.of("memory", (*kept, *(one for one in small if one.where not in large))))
    period = f"{replay.date(predictions.start)} … {replay.date(predictions.stop - 1)}"
    subject = f"{len(result.windows)} windows, test {period}, {predictions.score.size:,} predictions"
    return Verdict(level, config.case_name, tuple(checks), frontiers, subject)


def run_audited(
    config: ExperimentConfig, observer: Observer, cache: Cache | None = None
) -> tuple[ExperimentResult, Verdict | None]:
    """Run a configuration and audit it at its own level; the verdict becomes part of the snapshot's provenance.

    Parameters as in `harness.run.experiment.run`. Returns the result, with the verdict under ``provenance.audit``,
    where it identifies nothing and changes no number, and the verdict; None when ``audit`` is ``none``.
    """
    before = _numbers(config)
    result = run(config, observer, cache)
    level = Level(config.audit)
    if level is Level.NONE:
        return result, None
    store = None if cache is None else cache.store
    verdict = audit_result(config, result, level, observer=observer, store=store, before=before)
    snapshot = replace(result.snapshot, provenance={**result.snapshot.provenance, "audit": verdict.to_record()})
    write_snapshot(snapshot, result.folder / "snapshot.json")
    return replace(result, snapshot=snapshot), verdict


def _numbers(config: ExperimentConfig) -> dict[str, str]:
    return {where: digest for part in _PARTS for where, digest in numbers_of(getattr(config, part)).items()}


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
    """Hold what views recorded against each window's decision, and the adaptation's first use and every decision."""
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
    for name, lead in panel.known_ahead.items():
        if is_copy(panel.fields[name], panel.fields[panel.price_field]):
            what = "A field that is declared to be known ahead is the price field under another name."
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
    predictions, times = replay.predictions, replay.predictions.row_times
    label = label_of(replay.real.panel, replay.config.label.expression_text, times, predictions.codes)
    wrong = np.flatnonzero(~np.isclose(label, predictions.label, rtol=0, atol=0, equal_nan=True))
    if wrong.size:
        at = wrong[0]
        what = f"{wrong.size} scores are judged by another label than the configured one."
        yield Finding(what, replay.date(int(times[at])), f"{predictions.label[at]:.6g}", f"{label[at]:.6g}")
    name, actual = "IC", _mean_ic(predictions.score, label, predictions.offsets)
    if replay.config.evaluation.signal is None:
        name, actual = "MAE", _mean_error(predictions.score, label, predictions.offsets)
    if replay.config.evaluation.signal is None and replay.config.evaluation.errors is None:
        return
    reported, exact = replay.result.metrics.get(name), _EXACT * max(abs(actual), 1.0)
    if (reported is None) != np.isnan(actual) or (reported is not None and abs(reported - actual) > exact):
        what = f"The reported {name} is not that of the stored scores and the configured label."
        yield Finding(what, "metrics", "none" if reported is None else f"{reported:.6f}", f"{actual:.6f}")


def _mean_error(
    score: npt.NDArray[np.float32], label: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]
) -> float:
    errors = np.abs(score.astype(np.float64) - label)
    known = (errors[start:stop][~np.isnan(errors[start:stop])] for start, stop in itertools.pairwise(offsets))
    times = [float(own.mean()) for own in known if own.size]
    return float(np.mean(times)) if times else float("nan")


def _mean_ic(score: npt.NDArray[np.float32], label: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]) -> float:
    daily = []
    for start, stop in itertools.pairwise(offsets):
        known = ~(np.isnan(score[start:stop]) | np.isnan(label[start:stop]))
        left, right = (values[start:stop][known].astype(np.float64) for values in (score, label))
        if left.size >= 2 and np.ptp(left) > 0 and np.ptp(right) > 0:
            daily.append(float(np.corrcoef(left, right)[0, 1]))
    return float(np.mean(daily)) if daily else float("nan")


def kept_data(part: object) -> tuple[Finding, ...]:
    """Return one finding per variable that holds data, of `part` or that its methods refer to.

    Data are arrays and frames of more than 256 numbers, panels, tables, views, and containers of them. Followed are the
    functions and classes of the same module that its methods mention, their closures and defaults.
    """
    found: dict[str, str] = {}
    for where, value in _variables(part):
        if what := _data(value, _DEPTH):
            found.setdefault(where, what)
    said = "Data outlive a fit, where no other panel reaches them."
    return tuple(Finding(said, where, what, _EXPECTED) for where, what in found.items())


def numbers_of(part: object) -> dict[str, str]:
    """Return variable → digest of its content, for each that `part` or its methods refer to and that holds numbers.

    However few they are: what code has learned elsewhere may be one number per window.
    """
    contents = ((where, _content(value, _DEPTH)) for where, value in _variables(part))
    return {where: hashlib.sha256(repr(held).encode()).hexdigest() for where, held in contents if _holds_floats(held)}


def changed_numbers(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return one finding per variable whose numbers are others than before the first fit."""
    said = "Numbers that a fit leaves behind outlive it, where no other panel reaches them."
    changed = [where for where, digest in after.items() if before.get(where) != digest]
    return tuple(Finding(said, where, "changed while it was fitted and predicted", _EXPECTED) for where in changed)


def _variables(part: object) -> Iterator[tuple[str, object]]:
    """Yield (module: variable, value) of everything that an object and the code of its class can reach."""
    module = type(part).__module__
    for name, value in attributes_of(part).items():
        yield f"{module}: self.{name}", value
    for name, value in _reachable(type(part).__qualname__, type(part), module, set()):
        yield f"{module}: {name}", value


def _reachable(name: str, value: Any, module: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Yield a variable, or for a function or class of `module` every variable that it can reach, by name."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__wrapped__", value)
    if not isinstance(value, types.FunctionType | type):
        yield name, value
    elif value.__module__ == module and id(value) not in seen:
        seen.add(id(value))
        for mentioned, held in _mentioned_by(value, module):
            yield from _reachable(mentioned, held, module, seen)


def _mentioned_by(owner: Any, module: str) -> Iterator[tuple[str, object]]:
    if isinstance(owner, type):
        yield from [(f"{owner.__qualname__}.{name}", value) for name, value in vars(owner).items()]
        yield from [(base.__qualname__, base) for base in owner.__bases__]
        return
    for name, cell in zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True):
        try:
            yield f"{owner.__qualname__} (closure) {name}", cell.cell_contents
        except ValueError:
            continue  # not filled yet
    for value in owner.__defaults__ or ():
        yield f"{owner.__qualname__} (default)", value
    names = vars(sys.modules[module])
    yield from [(name, names[name]) for name in _names_in(owner.__code__) if name in names]


def _names_in(code: types.CodeType) -> set[str]:
    inner = [_names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


def _items(value: object) -> list[tuple[object, object]]:
    """Return (key or name, item) of what a container or an object holds."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return list(enumerate(value))
    if isinstance(value, types.ModuleType | type) or type(value).__module__ in ("builtins", "typing"):
        return []
    return sorted(getattr(value, "__dict__", {}).items())


def _content(value: object, depth: int) -> object:
    """Return what a value holds as text, numbers and tuples of them; nothing of what is no data."""
    if isinstance(value, np.ndarray):
        return ("array", value.shape, float(value.size), hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest())
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if depth == 0 or callable(value):
        return ()
    return tuple((_content(key, 1), _content(item, depth - 1)) for key, item in _items(value))


def _holds_floats(content: object) -> bool:
    return any(map(_holds_floats, content)) if isinstance(content, tuple) else isinstance(content, float | complex)


def _data(value: object, depth: int) -> str:
    """Return what data a value holds, in words; nothing when it holds none."""
    if isinstance(value, Panel | SampleTable | AsOfView):
        return f"a {type(value).__name__}"
    if isinstance(value, np.ndarray):
        return f"{value.size} numbers" if value.size > _LARGE else ""
    if type(value).__module__.partition(".")[0] in ("pandas", "pyarrow", "torch") and hasattr(value, "shape"):
        return f"a {type(value).__name__}" if int(np.prod(value.shape)) > _LARGE else ""
    items = [item for _, item in _items(value)] if depth else []
    if len(items) > _LARGE and all(isinstance(item, int | float) for item in items):
        return f"{len(items)} numbers"
    return next((what for item in items if (what := _data(item, depth - 1))), "")

"""What can be seen without running anything again: what was read, where the borders lie, what was judged."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.audit.comparison import label_of
from harness.audit.replay import Replay
from harness.audit.verdict import Check, Finding, Frontier
from harness.features.expression import look_ahead
from harness.features.parser import parse
from harness.run.rolling import learning_segments
from harness.samples.table import index_rows

_EXACT = 1e-6  # of a recomputed mean IC: both are float64 sums over the same days


def static_checks(run: Replay) -> Iterator[Check]:
    """Yield the checks that cost nothing but reading."""
    for name, ask in (("reads", _reads), ("borders", _borders), ("rows", _rows), ("judgement", _judgement)):
        yield Check.of(name, ask(run))


def recorded_frontiers(run: Replay) -> tuple[Frontier, ...]:
    """Return, per window, the newest labels that its fitting read, as its views recorded it."""
    config, found = run.config, []
    ahead = config.label.look_ahead
    for record, window in zip(_record(run, "reads.json"), run.windows, strict=True):
        known = max(record[part]["label_known"] for part in ("model", "early_stopping"))
        newest = oldest = waste = None
        if known >= ahead:
            newest, oldest = run.date(known - ahead), run.date(learning_segments(window, config.model)[0].start)
            waste = window.decision - config.windows.embargo - known
        decision = run.date(window.decision)
        found.append(Frontier(window.index, decision, newest, oldest, waste, perturbed=False))
    return tuple(found)


def _record(run: Replay, name: str) -> Any:
    return json.loads((run.result.folder / name).read_text(encoding="utf-8"))


def _reads(run: Replay) -> Iterator[Finding]:
    """Hold what views recorded against each window's decision, and the adaptation's first use and every decision."""
    for record in _record(run, "reads.json"):
        for part in ("preprocess", "model", "early_stopping"):
            name = part.replace("_", " ")
            yield from _late(run, f"The {name}", f"window {record['window']}", record["decision"], record[part])
    record = _record(run, "artefacts.json")
    for fit in record["artefacts"]:
        yield from _late(run, "The adaptation", fit["name"], fit["decision"], fit["reads"])
    decisions = {window.decision for window in run.windows}
    for view in record["views"]:
        yield from _late(run, "The adaptation", "a view", view["decision"], view["reads"])
        if view["decision"] > min(decisions) and view["decision"] not in decisions:
            what = "The adaptation opened a view of a time at which no window is decided."
            expected = f"up to {run.date(min(decisions))}, or a window's own decision"
            yield Finding(what, "adaptation", run.date(view["decision"]), expected)


def _late(run: Replay, who: str, where: str, decision: int, reads: dict[str, int]) -> Iterator[Finding]:
    """Yield a finding for features and for labels beyond a decision.

    A view counts a label as known by the declared look-ahead; what counts here is the expression's.
    """
    label, known = run.config.label, reads["label_known"]
    if known >= 0:
        known += look_ahead(parse(label.expression_text)) - label.look_ahead
    for what, at in (("features", reads["feature"]), ("labels known", known)):
        if at > decision:
            said = f"{who} read {what} beyond its decision."
            yield Finding(said, where, run.date(at), f"at most {run.date(decision)}")


def _borders(run: Replay) -> Iterator[Finding]:
    config, date = run.config, run.date
    declared, ahead = config.label.look_ahead, look_ahead(parse(config.label.expression_text))
    if ahead != declared:
        yield Finding("The label says it looks less far ahead than it does.", "label", str(declared), str(ahead))
    features = config.features.feature_set()
    for name, expression in zip(features.names, features.expressions, strict=True):
        if look_ahead(parse(expression)) > 0:
            yield Finding("A feature looks ahead.", f"feature {name}", expression)
    embargo = config.windows.embargo
    for window in run.windows:
        train, valid = learning_segments(window, config.model)
        borders = [("train", train.last, "valid", valid.start)] if valid is not None else []
        borders.append(("learning", max(train.last, valid.last if valid else -1), "the decision", window.decision))
        for left, last, right, start in borders:
            if last + ahead + embargo > start:
                what = f"Labels of {left} reach beyond the start of {right}."
                expected = f"known by {date(start)}" + (f", {embargo} periods before" if embargo > 0 else "")
                yield Finding(what, f"window {window.index}", f"{date(last)}, known {date(last + ahead)}", expected)


def _rows(run: Replay) -> Iterator[Finding]:
    predictions, index = run.predictions, index_rows(run.real.panel)
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
            yield Finding(f"{keys.size} {what}.", f"{predictions.instruments[code]} at {run.date(time)}")


def _judgement(run: Replay) -> Iterator[Finding]:
    predictions, times = run.predictions, run.predictions.row_times
    label = label_of(run.real.panel, run.config.label.expression_text, times, predictions.codes)
    wrong = np.flatnonzero(~np.isclose(label, predictions.label, rtol=0, atol=0, equal_nan=True))
    if wrong.size:
        at = wrong[0]
        what = f"{wrong.size} scores are judged by another label than the configured one."
        yield Finding(what, run.date(int(times[at])), f"{predictions.label[at]:.6g}", f"{label[at]:.6g}")
    reported = run.result.metrics.get("IC")
    actual = _mean_ic(predictions.score, label, predictions.offsets)
    if (reported is None) != np.isnan(actual) or (reported is not None and abs(reported - actual) > _EXACT):
        what = "The reported IC is not that of the stored scores and the configured label."
        yield Finding(what, "metrics", "none" if reported is None else f"{reported:.6f}", f"{actual:.6f}")


def _mean_ic(score: npt.NDArray[np.float32], label: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]) -> float:
    daily = []
    for start, stop in itertools.pairwise(offsets):
        known = ~(np.isnan(score[start:stop]) | np.isnan(label[start:stop]))
        left, right = (values[start:stop][known].astype(np.float64) for values in (score, label))
        if left.size >= 2 and np.ptp(left) > 0 and np.ptp(right) > 0:
            daily.append(float(np.corrcoef(left, right)[0, 1]))
    return float(np.mean(daily)) if daily else float("nan")

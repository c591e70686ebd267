"""What can be seen without running anything again: what was read, where the borders lie, what was judged."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.audit.verdict import Check, Finding, Frontier
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.evaluation.predictions import Predictions
from harness.features.engine import compute_expression
from harness.features.expression import look_ahead
from harness.features.parser import parse
from harness.run.experiment import ExperimentResult
from harness.run.rolling import learning_segments
from harness.samples.table import index_rows

READS = "did anything fitted read beyond its decision?"

_EXACT = 1e-6  # of a recomputed mean IC: both are float64 sums over the same days


@dataclass(frozen=True, eq=False)
class Evidence:
    """A finished run and the panel that it ran on."""

    result: ExperimentResult
    panel: Panel
    predictions: Predictions

    @property
    def calendar(self) -> Calendar:
        """To name positions."""
        return self.panel.calendar


def static_checks(evidence: Evidence) -> tuple[Check, ...]:
    """Return the checks that cost nothing but reading."""
    return (
        Check.of("reads", READS, (*_reads(evidence), *_adaptation_reads(evidence))),
        Check.of("borders", "is every border purged by the label's own look-ahead?", tuple(_borders(evidence))),
        Check.of("rows", "does every predicted row trade in the universe at its time?", tuple(_rows(evidence))),
        Check.of("judgement", "are the scores judged by the label, and by it alone?", tuple(_judgement(evidence))),
    )


def recorded_frontiers(evidence: Evidence) -> tuple[Frontier, ...]:
    """Return, per window, the newest labels that its fitting read, as its views recorded it."""
    calendar, config = evidence.calendar, evidence.result.config
    ahead = config.label.look_ahead
    found = []
    for record, window in zip(_window_reads(evidence), evidence.result.windows, strict=True):
        train, _ = learning_segments(window, config.model)
        known = max(record[part]["label_known"] for part in ("model", "early_stopping"))
        used = known >= ahead
        found.append(
            Frontier(
                window=window.index,
                decision=calendar.format(window.decision),
                newest=calendar.format(known - ahead) if used else None,
                oldest=calendar.format(train.start) if used else None,
                waste=window.decision - config.windows.embargo - known if used else None,
                perturbed=False,
            )
        )
    return tuple(found)


def _window_reads(evidence: Evidence) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = _json(evidence, "reads.json")
    return records


def _json(evidence: Evidence, name: str) -> Any:
    return json.loads((evidence.result.folder / name).read_text(encoding="utf-8"))


def _reads(evidence: Evidence) -> Iterator[Finding]:
    """Hold what each window's fitting read, as its own views recorded it, against its decision."""
    for record in _window_reads(evidence):
        for part in ("preprocess", "model", "early_stopping"):
            name = part.replace("_", " ")
            yield from _late(evidence, f"The {name}", f"window {record['window']}", record["decision"], record[part])


def _adaptation_reads(evidence: Evidence) -> Iterator[Finding]:
    """Hold what the adaptation fitted against its first use, and its views against the decisions that there are."""
    record = _json(evidence, "artefacts.json")
    for artefact in record["artefacts"]:
        yield from _late(evidence, "The adaptation", artefact["name"], artefact["decision"], artefact["reads"])
    decisions = {window.decision for window in evidence.result.windows}
    for view in record["views"]:
        yield from _late(evidence, "The adaptation", "a view", view["decision"], view["reads"])
        if view["decision"] > min(decisions) and view["decision"] not in decisions:
            yield Finding(
                "The adaptation opened a view of a time at which no window is decided.",
                "adaptation",
                _date(evidence.calendar, view["decision"]),
                f"up to {_date(evidence.calendar, min(decisions))}, or a window's own decision",
            )


def _late(evidence: Evidence, who: str, where: str, decision: int, reads: dict[str, int]) -> Iterator[Finding]:
    """Yield a finding for features and for labels beyond a decision.

    A view counts a label as known by the declared look-ahead; what counts here is the expression's.
    """
    label, calendar = evidence.result.config.label, evidence.calendar
    known = reads["label_known"]
    if known >= 0:
        known += look_ahead(parse(label.expression_text)) - label.look_ahead
    for what, at in (("features", reads["feature"]), ("labels known", known)):
        if at > decision:
            what = f"{who} read {what} beyond its decision."
            yield Finding(what, where, _date(calendar, at), f"at most {_date(calendar, decision)}")


def _borders(evidence: Evidence) -> Iterator[Finding]:
    config, calendar = evidence.result.config, evidence.calendar
    ahead = look_ahead(parse(config.label.expression_text))
    if ahead != config.label.look_ahead:
        yield Finding(
            "The label says it looks less far ahead than it does.", "label", str(config.label.look_ahead), str(ahead)
        )
    features = config.features.feature_set()
    for name, expression in zip(features.names, features.expressions, strict=True):
        if look_ahead(parse(expression)) > 0:
            yield Finding("A feature looks ahead.", f"feature {name}", expression)
    gap = ahead + config.windows.embargo
    for window in evidence.result.windows:
        train, valid = learning_segments(window, config.model)
        borders = [("train", train.last, "valid", valid.start)] if valid is not None else []
        borders.append(("learning", max(train.last, valid.last if valid else -1), "the decision", window.decision))
        for left, last, right, start in borders:
            if last + gap > start:
                yield Finding(
                    f"Labels of {left} reach beyond the start of {right}.",
                    f"window {window.index}",
                    f"{calendar.format(last)}, known {_date(calendar, last + ahead)}",
                    f"known by {_date(calendar, start)}"
                    + (f", {config.windows.embargo} periods before" if gap > ahead else ""),
                )


def _rows(evidence: Evidence) -> Iterator[Finding]:
    predictions = evidence.predictions
    index = index_rows(evidence.panel)
    rows = index.rows(predictions.start, predictions.stop)
    width = len(predictions.instruments)
    real = index.times(predictions.start, predictions.stop) * width + index.codes[rows]
    predicted = predictions.row_times * width + predictions.codes
    for keys, what in (
        (np.setdiff1d(predicted, real), "rows are predicted although nobody could trade them"),
        (np.setdiff1d(real, predicted), "tradable rows are not predicted"),
    ):
        if keys.size:
            first = evidence.calendar.format(int(keys[0] // width))
            name = predictions.instruments[int(keys[0] % width)]
            yield Finding(f"{keys.size} {what}.", f"{name} at {first}")


def _judgement(evidence: Evidence) -> Iterator[Finding]:
    predictions = evidence.predictions
    label = true_label(evidence)
    same = (label == predictions.label) | (np.isnan(label) & np.isnan(predictions.label))
    if not same.all():
        at = int(np.flatnonzero(~same)[0])
        yield Finding(
            f"{int((~same).sum())} scores are judged by another label than the configured one.",
            evidence.calendar.format(int(predictions.row_times[at])),
            f"{predictions.label[at]:.6g}",
            f"{label[at]:.6g}",
        )
    reported = evidence.result.metrics.get("IC")
    actual = _mean_ic(predictions.score, label, predictions.offsets)
    if (reported is None) != np.isnan(actual) or (reported is not None and abs(reported - actual) > _EXACT):
        yield Finding(
            "The reported IC is not that of the stored scores and the configured label.",
            "metrics",
            "none" if reported is None else f"{reported:.6f}",
            f"{actual:.6f}",
        )


def true_label(evidence: Evidence) -> npt.NDArray[np.float32]:
    """Return (n,) float32, the configured label of every predicted row, computed from the panel alone."""
    predictions = evidence.predictions
    values = compute_expression(evidence.panel, evidence.result.config.label.expression_text)  # (T, N)
    label = values[predictions.row_times, predictions.codes]
    return np.where(np.isfinite(label), label, np.float32(np.nan))


def _mean_ic(score: npt.NDArray[np.float32], label: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]) -> float:
    daily = []
    for start, stop in itertools.pairwise(offsets):
        known = ~(np.isnan(score[start:stop]) | np.isnan(label[start:stop]))
        left, right = (values[start:stop][known].astype(np.float64) for values in (score, label))
        if left.size >= 2 and np.ptp(left) > 0 and np.ptp(right) > 0:
            daily.append(float(np.corrcoef(left, right)[0, 1]))
    return float(np.mean(daily)) if daily else float("nan")


def _date(calendar: Calendar, position: int) -> str:
    last = len(calendar) - 1
    return calendar.format(position) if position <= last else f"{calendar.format(last)} + {position - last} periods"

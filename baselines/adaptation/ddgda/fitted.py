"""What DDG-DA has learned: weights for any window, how it came to them, and both as files that cannot run code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from baselines.adaptation.ddgda.meta_task import USED, Flags, MetaTask, Phase
from baselines.adaptation.ddgda.preparation import KnownSimilarity, Regime, Similarity
from baselines.adaptation.ddgda.proxy import Choice
from baselines.adaptation.ddgda.weight_model import MetaScore, WeightModel, WeightRule
from harness.data.calendar import Calendar
from harness.errors import ArtifactError, ConfigError
from harness.samples.interfaces import TimeWeights
from harness.samples.table import FitRecord, Reads
from harness.samples.windows import Segment, Window
from harness.store.artifacts import canonical_json
from harness.store.codec import from_plain

SCHEMA_VERSION = 2


@dataclass(frozen=True, eq=False)
class FittedDDGDA:
    """The fitted adaptation.

    Attributes:
        regimes: In time order; a window uses the newest whose choice was made by its decision.
        tasks: Every meta-task with its use, or why it was left out.
        windows: The windows it was fitted for; their weights are saved.
        leaks: What was learned from data not known at its decision; empty in the leak-free variant.
    """

    model: WeightModel
    rule: WeightRule
    regimes: tuple[Regime, ...]
    tasks: tuple[MetaTask, ...]
    history: tuple[MetaScore, ...]
    windows: tuple[Window, ...]
    calendar: Calendar
    leaks: tuple[str, ...]

    def time_weights(self, window: Window) -> TimeWeights:
        known = self.known(window.decision, window.learn_stop)
        needed = self.rule.hist_step_n * known.step
        if known.values.shape[0] < needed:
            text = f"Window {window.index} has too little history for the weight model."
            got, expected = f"{known.values.shape[0]} periods of similarity", f"at least {needed}"
            raise ConfigError(text, where="adaptation.hist_step_n", got=got, expected=expected)
        starts, values = known.block_starts, self.model.weights(self.rule.meta_input(known))
        if self.rule.plain_tail:
            starts, values = np.append(starts, starts[-1] + known.step), np.append(values, 1.0)
        return TimeWeights(starts, values)

    def known(self, decision: int, stop: int) -> KnownSimilarity:
        made = (regime for regime in self.regimes if regime.choice.decision <= decision)
        return max(made, key=lambda regime: regime.choice.decision).similarity.as_of(decision).until(stop)

    def notes(self) -> list[str]:
        notes = []
        for phase, count in Counter(task.phase for task in self.tasks).items():
            if phase not in USED:
                named = [self.calendar.format(task.decision) for task in self.tasks if task.phase is phase]
                notes.append(f"{count} meta-task(s) {phase} ({named[0]} … {named[-1]})")
        for found in (regime.similarity for regime in self.regimes):
            if found.undefined:
                columns = int(np.isnan(found.values).all(axis=0).sum())
                notes.append(
                    f"{found.undefined} similarities ({found.undefined / found.values.size:.1%}) are undefined, "
                    f"{columns} of {found.values.shape[1]} blocks wholly: a time has no row, or forecasts or labels "
                    "are constant"
                )
        return [*notes, *(f"leak: {leak}" for leak in self.leaks)]

    @property
    def fit_records(self) -> tuple[FitRecord, ...]:
        # A feature choice and its processors come with what their views recorded, the others with the segments whose
        # rows they hold.
        recorded = (record for regime in self.regimes for record in regime.learned)
        ahead = self.regimes[0].similarity.look_ahead
        return (*recorded, *(FitRecord(name, at, Reads(newest, newest + ahead)) for name, at, newest in self._fits()))

    def _fits(self) -> Iterator[tuple[str, int, int]]:
        """Yield what was fitted without a view, its decision and the newest position that it read."""
        tasks, last = [task for task in self.tasks if task.phase in USED], self.windows[-1]
        used = [(f"meta-task {t.index}", t.decision, t.train.stop) for t in tasks]
        for name, decision, stop in [*used, *((f"window {w.index}", w.decision, w.learn_stop) for w in self.windows)]:
            known = self.known(decision, stop)
            yield f"similarity of {name}", decision, known.start + known.values.shape[0] - 1
        # Every block's proxy, against the first time from its block on at which it is judged: not masked.
        known = self.known(last.decision, last.learn_stop)
        rows = np.arange(known.values.shape[0])[:, None]
        free = ~known.overlap & (rows >= (known.block_starts - known.start)[None, :])
        for block in np.flatnonzero(free.any(axis=0)).tolist():
            newest = int(known.block_starts[block]) + known.step - 1
            yield f"proxy of block {block}", int(known.start + free[:, block].argmax()), newest
        for task in tasks:
            yield f"inner problem of meta-task {task.index}", task.decision, task.train.last
        trained = [task.test.last for task in tasks if task.phase is Phase.META_TRAIN]
        if trained:
            yield "weight model", self.windows[0].decision, max(trained)

    def save(self, folder: Path) -> None:
        """Write the fitted adaptation into an existing folder; `load_fitted` reads it.

        ``weights.parquet`` (window, block, block_start, block_time, weight), ``weight_model.json`` (coefficients over
        the history steps, oldest first), ``similarity_<regime>.npy`` (times × blocks), ``meta_training.parquet``
        (stage, epoch, phase, loss, rank_ic), ``meta_tasks.parquet`` (positions, times and use of every task),
        ``calendar.npy``, ``record.json`` (the rest).
        """
        pq.write_table(_weights(self), folder / "weights.parquet")
        kinds = {"stage": pa.string(), "epoch": pa.int64(), "phase": pa.string()}
        schema = pa.schema({**kinds, "loss": pa.float64(), "rank_ic": pa.float64()})
        scores = pa.Table.from_pylist([asdict(score) for score in self.history], schema=schema)
        pq.write_table(scores, folder / "meta_training.parquet")
        pq.write_table(_meta_tasks(self), folder / "meta_tasks.parquet")
        np.save(folder / "calendar.npy", self.calendar.times.astype(np.int64), allow_pickle=False)
        for at, regime in enumerate(self.regimes):
            np.save(folder / f"similarity_{at}.npy", regime.similarity.values, allow_pickle=False)
        record = {
            "schema_version": SCHEMA_VERSION,
            "rule": self.rule,
            "eras": [
                {
                    **{"choice": r.choice, "learned": r.learned, "undefined": r.similarity.undefined},
                    **{name: getattr(r.similarity, name) for name in ("start", "step", "look_ahead")},
                }
                for r in self.regimes
            ],
            "windows": self.windows,
            "leaks": self.leaks,
            "notes": self.notes(),
        }
        for name, value in (("weight_model", self.model), ("record", record)):
            text = canonical_json(value, indent=1)
            (folder / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


def load_fitted(folder: Path) -> FittedDDGDA:
    """Read what `FittedDDGDA.save` wrote; an `ArtifactError` when a file is missing or of another schema."""
    try:
        texts = ((folder / f"{name}.json").read_text(encoding="utf-8") for name in ("record", "weight_model"))
        record, model = map(json.loads, texts)
    except FileNotFoundError as error:
        raise ArtifactError("A file of a fitted DDG-DA is missing.", where=error.filename) from error
    if record["schema_version"] != SCHEMA_VERSION:
        text, got = "This fitted DDG-DA has another schema.", record["schema_version"]
        raise ArtifactError(text, where=folder / "record.json", got=got, expected=SCHEMA_VERSION)
    scores = pq.read_table(folder / "meta_training.parquet").to_pylist()
    return FittedDDGDA(
        model=from_plain(WeightModel, {**model, "coefficients": np.array(model["coefficients"])}),
        rule=from_plain(WeightRule, record["rule"]),
        regimes=tuple(_regime(one, folder / f"similarity_{at}.npy") for at, one in enumerate(record["eras"])),
        tasks=tuple(_task(row) for row in pq.read_table(folder / "meta_tasks.parquet").to_pylist()),
        history=from_plain(tuple[MetaScore, ...], scores),
        windows=from_plain(tuple[Window, ...], record["windows"]),
        calendar=Calendar(np.load(folder / "calendar.npy", allow_pickle=False).astype("datetime64[ns]")),
        leaks=tuple(record["leaks"]),
    )


def named_leaks(
    flags: Flags, tasks: tuple[MetaTask, ...], first: Window, calendar: Calendar, look_ahead: int
) -> tuple[str, ...]:
    """Return one sentence for everything that is learned from the future of a decision."""
    used = [task for task in tasks if task.phase in USED]
    trained = [task for task in tasks if task.phase is Phase.META_TRAIN]
    leaks, begins = [], calendar.format(first.decision)
    if flags.learn_choice_late:
        leaks.append(
            f"features are chosen and processors fitted on data up to {calendar.format(first.train.last)}, "
            f"and used by meta-tasks from {calendar.format(used[0].decision)} on"
        )
    if flags.drop_before_scoring:
        leaks.append("the per-time z-score counts only instruments that will have a label")
    inside = [calendar.format(task.test.start) for task in trained if task.test.stop > first.decision]
    if inside:
        text = f"{len(inside)} meta-training task(s) lie in the final test period, which begins {begins}"
        leaks.append(f"{text}: {', '.join(inside)}")
    elif trained and trained[-1].test.last + look_ahead > first.decision:
        leaks.append(
            f"meta-training is judged on labels of times up to {calendar.format(trained[-1].test.last)}, which are not "
            f"all known at the first decision on {begins}"
        )
    return tuple(leaks)


def _weights(fitted: FittedDDGDA) -> pa.Table:
    weights = [fitted.time_weights(window) for window in fitted.windows]
    starts = np.concatenate([w.starts for w in weights])
    counts = [w.starts.size for w in weights]
    return pa.table(
        {
            "window": np.repeat([w.index for w in fitted.windows], counts),
            "test_time": fitted.calendar.times[np.repeat([w.decision for w in fitted.windows], counts)],
            "block": np.concatenate([np.arange(count) for count in counts]),
            "block_start": starts,
            "block_time": fitted.calendar.times[starts],
            "weight": np.concatenate([w.values for w in weights]),
        }
    )


def _meta_tasks(fitted: FittedDDGDA) -> pa.Table:
    tasks, times = fitted.tasks, fitted.calendar.times
    places = [(part, end) for part in ("train", "test") for end in ("start", "last")]
    bounds = {f"{part}_{end}": [getattr(getattr(t, part), end) for t in tasks] for part, end in places}
    named = {f"{name}_time": times[positions] for name, positions in bounds.items()}
    return pa.table({"task": [t.index for t in tasks], "phase": [str(t.phase) for t in tasks], **bounds, **named})


def _task(row: dict[str, Any]) -> MetaTask:
    train, test = (Segment(row[f"{name}_start"], row[f"{name}_last"] + 1) for name in ("train", "test"))
    return MetaTask(row["task"], train, test, Phase(row["phase"]))


def _regime(record: dict[str, Any], similarity: Path) -> Regime:
    values = np.load(similarity, allow_pickle=False)
    return Regime(
        from_plain(Choice, record["choice"]),
        Similarity(record["start"], record["step"], record["look_ahead"], values),
        from_plain(tuple[FitRecord, ...], record["learned"]),
    )

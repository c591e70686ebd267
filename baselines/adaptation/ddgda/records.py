"""The fitted adaptation as files: Parquet tables, arrays, JSON; nothing that could run code when read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from baselines.adaptation.ddgda.feature_choice import Choice
from baselines.adaptation.ddgda.fitted import Era, FittedDDGDA, Learned
from baselines.adaptation.ddgda.meta_score import MetaScore
from baselines.adaptation.ddgda.meta_split import MetaTask, Phase
from baselines.adaptation.ddgda.similarity import Similarity
from baselines.adaptation.ddgda.weight_model import WeightModel, WeightShape
from harness.data.calendar import Calendar
from harness.errors import ArtifactError
from harness.samples.table import Artefact
from harness.samples.windows import Segment, Window
from harness.store.artifacts import canonical_json
from harness.store.codec import from_plain

SCHEMA_VERSION = 2


def save(fitted: FittedDDGDA, folder: Path) -> None:
    """Write a fitted adaptation into an existing folder.

    ``weights.parquet`` (window, block, block_start, block_time, weight), ``weight_model.json`` (coefficients over the
    history steps, oldest first), ``similarity_<era>.npy`` (times × blocks), ``meta_training.parquet`` (stage, epoch,
    phase, loss, rank_ic), ``meta_tasks.parquet`` (positions, times and use of every task), ``calendar.npy``,
    ``record.json`` (the rest).
    """
    pq.write_table(_weights(fitted), folder / "weights.parquet")
    pq.write_table(_meta_training(fitted.history), folder / "meta_training.parquet")
    pq.write_table(_meta_tasks(fitted), folder / "meta_tasks.parquet")
    np.save(folder / "calendar.npy", fitted.calendar.times.astype(np.int64), allow_pickle=False)
    for at, era in enumerate(fitted.eras):
        np.save(folder / f"similarity_{at}.npy", era.similarity.values, allow_pickle=False)
    _write_json(folder / "weight_model.json", fitted.model)
    _write_json(folder / "record.json", _record(fitted))


def load(folder: Path) -> FittedDDGDA:
    """Read what `save` wrote.

    Raises:
        ArtifactError: When a file is missing or of another schema.
    """
    record = _read_json(folder / "record.json")
    if record["schema_version"] != SCHEMA_VERSION:
        raise ArtifactError(
            "This fitted DDG-DA has another schema.",
            where=folder / "record.json",
            got=record["schema_version"],
            expected=SCHEMA_VERSION,
        )
    model = _read_json(folder / "weight_model.json")
    return FittedDDGDA(
        model=WeightModel(
            coefficients=np.array(model["coefficients"]),
            bias=model["bias"],
            scale=model["scale"],
            shape=from_plain(WeightShape, model["shape"]),
        ),
        rule=from_plain(Learned, record["rule"]),
        eras=tuple(_era(e, folder / f"similarity_{at}.npy") for at, e in enumerate(record["eras"])),
        tasks=tuple(_task(row) for row in pq.read_table(folder / "meta_tasks.parquet").to_pylist()),
        history=_scores(folder / "meta_training.parquet"),
        windows=from_plain(tuple[Window, ...], record["windows"]),
        calendar=Calendar(np.load(folder / "calendar.npy", allow_pickle=False).astype("datetime64[ns]")),
        leaks=tuple(record["leaks"]),
    )


def _record(fitted: FittedDDGDA) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "rule": fitted.rule,
        "eras": [
            {
                "choice": era.choice,
                "start": era.similarity.start,
                "step": era.similarity.step,
                "look_ahead": era.similarity.look_ahead,
                "undefined": era.similarity.undefined,
                "learned": era.learned,
            }
            for era in fitted.eras
        ],
        "windows": fitted.windows,
        "leaks": fitted.leaks,
        "notes": fitted.notes(),
    }


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


def _meta_training(history: tuple[MetaScore, ...]) -> pa.Table:
    return pa.Table.from_pylist(
        [asdict(score) for score in history],
        schema=pa.schema(
            {
                "stage": pa.string(),
                "epoch": pa.int64(),
                "phase": pa.string(),
                "loss": pa.float64(),
                "rank_ic": pa.float64(),
            }
        ),
    )


def _meta_tasks(fitted: FittedDDGDA) -> pa.Table:
    tasks, times = fitted.tasks, fitted.calendar.times
    bounds = {
        "train_start": [t.train.start for t in tasks],
        "train_last": [t.train.last for t in tasks],
        "test_start": [t.test.start for t in tasks],
        "test_last": [t.test.last for t in tasks],
    }
    return pa.table(
        {
            "task": [t.index for t in tasks],
            "phase": [str(t.phase) for t in tasks],
            **bounds,
            **{f"{name}_time": times[positions] for name, positions in bounds.items()},
        }
    )


def _scores(path: Path) -> tuple[MetaScore, ...]:
    return tuple(MetaScore(**row) for row in pq.read_table(path).to_pylist())


def _task(row: dict[str, Any]) -> MetaTask:
    return MetaTask(
        index=row["task"],
        train=Segment(row["train_start"], row["train_last"] + 1),
        test=Segment(row["test_start"], row["test_last"] + 1),
        phase=Phase(row["phase"]),
    )


def _era(record: dict[str, Any], similarity: Path) -> Era:
    values = np.load(similarity, allow_pickle=False)
    return Era(
        from_plain(Choice, record["choice"]),
        Similarity(record["start"], record["step"], record["look_ahead"], values),
        from_plain(tuple[Artefact, ...], record["learned"]),
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(canonical_json(value, indent=1), encoding="utf-8", newline="\n")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError("A file of a fitted DDG-DA is missing.", where=path) from error

"""A finished run or sweep, read from the folder that it left: for reports, statistics, tables and tracking alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import DataError
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.predictions import Predictions
from harness.snapshots.snapshot import Snapshot, read_snapshot

Doubles = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
LEADERBOARD, SNAPSHOT, SERIES = "leaderboard.json", "snapshot.json", "series.parquet"
PREDICTIONS = "predictions.parquet"
_RANGE = "test range"


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """One finished run; all but the snapshot is read when it is asked for.

    Attributes:
        name: The swept values, or the case.
        given: Its series, where they are at hand already.
        regimes: (S,) volatility regime of the market at each time of the series; None when the market is not at hand.
    """

    name: str
    snapshot: Snapshot
    folder: Path = Path()
    given: DailySeries | None = None
    regimes: npt.NDArray[np.str_] | None = None

    @classmethod
    def read(cls, folder: Path, name: str | None = None) -> FinishedRun:
        snapshot = read_snapshot(folder / SNAPSHOT)
        return cls(name or snapshot.case, snapshot, folder)

    @cached_property
    def series(self) -> DailySeries:
        return self.given or DailySeries.read(self.folder / SERIES)

    @property
    def config(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.snapshot.identity["config"]
        return found

    @property
    def overall(self) -> Mapping[str, Any]:
        return self.snapshot.overall

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self.snapshot.metrics.get("notes", ()))

    @property
    def look_ahead(self) -> int:
        return int(self.snapshot.identity["look_ahead"])

    @property
    def horizon(self) -> int:
        return self.look_ahead - 1

    @property
    def seconds(self) -> float:
        return float(sum(self.snapshot.provenance["seconds"].values()))

    @cached_property
    def audit(self) -> Mapping[str, Any] | None:
        path = self.folder / "audit.json"
        found = _read_json(path) if path.is_file() else self.snapshot.provenance.get("audit")
        inner: Mapping[str, Any] | None = found.get("verdict", found) if found else None
        return inner

    def adaptation_file(self, name: str) -> Path | None:
        path = self.folder / "adaptation" / name
        return path if path.is_file() else None

    def predictions(self) -> Predictions:
        return Predictions.read_parquet(self.folder / PREDICTIONS)

    def at(self, name: str, times: Times) -> Doubles:
        """Return (T,) a series at some of its times."""
        return self.series[name][np.searchsorted(self.series.times, times)]

    @property
    def scenario(self) -> dict[str, object]:
        """What two runs have in common whose metrics answer the same question about the same times."""
        identity, times = self.snapshot.identity, self.series.times
        config = identity.get("config", {})
        return {
            "data set": identity.get("data", {}).get("fingerprint"),
            "label": (identity.get("look_ahead"), config.get("label")),
            "definition of the metrics": config.get("evaluation", {}).get("signal"),
            _RANGE: [str(times[at]) for at in (0, -1)] if times.size else [],
        }

    def why_not_comparable(self, other: FinishedRun) -> str | None:
        """Return why a metric of this run cannot be held against that of another, or None."""
        own, others = self.scenario, other.scenario
        meet = np.intersect1d(self.series.times, other.series.times).size > 0
        differs = [what for what in own if own[what] != others[what] and (meet or what != _RANGE)]
        if differs:
            return f"another {' and another '.join(differs)}"
        return None if meet else "no test time in common"


@dataclass(frozen=True)
class SweepRow:
    """One cell of a finished sweep: the swept values, how it ended and why; None is the folder without a result."""

    name: str
    outcome: str
    note: str
    folder: Path | None


@dataclass(frozen=True)
class FinishedSweep:
    """A finished sweep: its cells without oracles, which are metrics of the cells, and the names of the references."""

    folder: Path
    rows: tuple[SweepRow, ...]
    references: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> FinishedSweep:
        board = _read_json(folder / LEADERBOARD)
        try:
            rows = tuple(
                SweepRow(str(r["name"]), str(r["outcome"]), str(r["note"] or ""), _run_folder(folder, r["folder"]))
                for r in board["rows"]
                if r["outcome"] != "oracle"
            )
            return cls(folder, rows, tuple(map(str, board.get("references", ()))))
        except (KeyError, TypeError, AttributeError) as error:
            raise _unreadable(folder / LEADERBOARD, error) from error

    @property
    def runs(self) -> Iterator[FinishedRun]:
        return (FinishedRun.read(row.folder, row.name) for row in self.rows if row.folder is not None)


def read_finished(folder: Path) -> FinishedRun | FinishedSweep:
    """Read the folder of a run or of a sweep.

    Raises:
        DataError: When it is neither, or the sweep's table cannot be read.
        SnapshotError: When a snapshot is missing, damaged, or of another schema.
    """
    if (folder / LEADERBOARD).is_file():
        return FinishedSweep.read(folder)
    if (folder / SNAPSHOT).is_file():
        return FinishedRun.read(folder)
    what, expected = "The folder holds neither a sweep nor a run.", f"{LEADERBOARD} or {SNAPSHOT} in it"
    hint = "`bench run` prints where its snapshot lies, `bench run -m` where its table lies"
    raise DataError(what, where=str(folder), expected=expected, hint=hint)


def folders_under(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of all sweeps under `root`, and of all runs, sorted."""
    sweeps, runs = (sorted(path.parent for path in root.glob(f"*/{name}")) for name in (LEADERBOARD, SNAPSHOT))
    return sweeps, runs


def named_apart(runs: Iterable[FinishedRun]) -> list[FinishedRun]:
    """Return the runs with no name twice: of two that are called alike, the later gets the end of its folder's."""
    named: dict[str, FinishedRun] = {}
    for run in runs:
        names = chain((run.name, f"{run.name} ({run.folder.name[-12:]})"), (f"{run.name} ({at})" for at in count(2)))
        name = next(name for name in names if name not in named)
        named[name] = replace(run, name=name)
    return list(named.values())


def flatten(node: object, path: str = "") -> dict[str, object]:
    """Return dotted key → plain value of nested mappings and lists."""
    if not isinstance(node, Mapping | list | tuple):
        return {path: node}
    found: dict[str, object] = {}
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        found |= flatten(value, f"{path}.{key}" if path else str(key))
    return found


def _run_folder(sweep: Path, recorded: str | None) -> Path | None:
    if recorded is None:
        return None
    beside = sweep.parent / Path(recorded).name  # also where both were copied to
    return beside if beside.is_dir() else Path(recorded)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    what = "The table of the sweep cannot be read." if path.name == LEADERBOARD else "The file cannot be read."
    got, hint = f"{type(error).__name__}: {error}", "run the sweep again to write it anew"
    return DataError(what, where=str(path), got=got, expected="JSON as it was written", hint=hint)

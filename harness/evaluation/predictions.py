"""The predictions of all windows, in (time, instrument) order, beside the labels they are judged by."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.data.calendar import Calendar
from harness.errors import DataError, closest
from harness.store.arrow import column_of, named
from harness.store.fingerprint import fingerprint_arrays

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
_METADATA = b"harness.predictions"


@dataclass(frozen=True, eq=False)
class Predictions:
    """One score per row of the test range.

    Attributes:
        calendar, instruments: What positions and codes stand for.
        start: Calendar position of the first test time.
        offsets: (S + 1,) int64; rows ``offsets[s] … offsets[s + 1]`` belong to calendar position ``start + s``.
        codes: (n,) int32 instrument columns, increasing within a time.
        score: (n,) float32 predictions.
        label: (n,) float32 raw labels, NaN where there is none (yet).
        window_starts: (W,) int64 calendar positions at which the windows' test segments start.
        levels: Of the Q quantiles that are forecast too, in (0, 1) and rising.
        quantiles: (n, Q) float32; None without levels.

    Raises:
        DataError: When lengths or positions disagree.
    """

    calendar: Calendar
    instruments: tuple[str, ...]
    start: int
    offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int32]
    score: npt.NDArray[np.float32]
    label: npt.NDArray[np.float32]
    window_starts: npt.NDArray[np.int64]
    levels: tuple[float, ...] = ()
    quantiles: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        rows = {self.codes.size, self.score.size, self.label.size}
        if self.offsets.size == 0 or rows != {int(self.offsets[-1])} or (np.diff(self.offsets) < 0).any():
            got = f"{self.codes.size} codes, {self.score.size} scores, {self.label.size} labels"
            expected = "as many as the offsets say, and offsets that never fall"
            raise DataError("The arrays of the predictions disagree.", where="Predictions", got=got, expected=expected)
        if (() if self.quantiles is None else self.quantiles.shape) != (
            (self.score.size, n) if (n := len(self.levels)) else ()
        ):
            got = "none" if self.quantiles is None else str(self.quantiles.shape)
            raise DataError("There is not one quantile per row and level.", where="Predictions.quantiles", got=got)
        if not 0 <= self.start <= self.stop <= len(self.calendar):
            got, expected = f"positions [{self.start}, {self.stop})", f"positions within [0, {len(self.calendar)})"
            raise DataError("The predictions leave the calendar.", where="Predictions", got=got, expected=expected)

    @property
    def stop(self) -> int:
        """One past the last test position."""
        return self.start + self.offsets.size - 1

    @property
    def times(self) -> npt.NDArray[np.datetime64]:
        """(S,) ``datetime64[ns]``, the test times."""
        return self.calendar.times[self.start : self.stop]

    @property
    def row_times(self) -> npt.NDArray[np.int64]:
        """(n,) int64 calendar position of every row."""
        return np.repeat(np.arange(self.start, self.stop), np.diff(self.offsets))

    @property
    def digest(self) -> str:
        """Hex SHA-256 of times, instruments, scores and quantiles."""
        return self.digest_of(self.start, self.stop)

    def digest_of(self, start: int, stop: int) -> str:
        """Return the `digest` of the rows of calendar positions [start, stop) alone."""
        rows = self._rows(start, stop)
        codes = _encoded(self.instruments, self.codes[rows])
        times = self.calendar.times[self.row_times[rows]]
        quantiles = {} if self.quantiles is None else {"quantiles": self.quantiles[rows]}
        return fingerprint_arrays({"times": times, "instruments": codes, "score": self.score[rows], **quantiles})

    def labels_of(self, start: int, stop: int) -> str:
        """Return a digest of the labels of the rows of calendar positions [start, stop)."""
        return fingerprint_arrays({"label": self.label[self._rows(start, stop)]})

    def _rows(self, start: int, stop: int) -> slice:
        return slice(*(int(self.offsets[at - self.start]) for at in (start, stop)))

    @property
    def newest_at(self) -> int:
        """The last calendar position at which anybody has a score; the last of all where nobody ever has one."""
        known = np.flatnonzero(~np.isnan(self.score))
        last = self.offsets.size - 1 if not known.size else int(np.searchsorted(self.offsets, known[-1], side="right"))
        return self.start + last - 1

    def newest(self) -> tuple[str, list[tuple[str, float]]]:
        """Return the time of `newest_at`, and the instruments that have a score then, best first."""
        at = self.newest_at
        rows = np.arange(*self._rows(at, at + 1).indices(self.score.size))
        rows = rows[~np.isnan(self.score[rows])]
        rows = rows[np.argsort(-self.score[rows], kind="stable")]
        scores = [(self.instruments[self.codes[row]], float(self.score[row])) for row in rows.tolist()]
        return self.calendar.format(at), scores

    def until(self, stop: int) -> Predictions:
        """Return the predictions of calendar positions before `stop`."""
        rows = self._rows(self.start, stop)
        return replace(
            self,
            offsets=self.offsets[: stop - self.start + 1],
            codes=self.codes[rows],
            score=self.score[rows],
            label=self.label[rows],
            window_starts=self.window_starts[self.window_starts < stop],
            quantiles=None if self.quantiles is None else self.quantiles[rows],
        )

    def with_score(self, score: npt.NDArray[np.float32]) -> Predictions:
        """Return other forecasts of the same rows, without quantiles."""
        return replace(self, score=score, levels=(), quantiles=None)

    def to_frame(self) -> pd.DataFrame:
        """Return the rows for a notebook: columns ``datetime``, ``instrument``, ``score``, ``label``, ``window``.

        Quantiles follow, as ``quantile_0.1`` and so on.
        """
        frame: pd.DataFrame = self._table().to_pandas()
        return frame

    def _repr_html_(self) -> str:
        """Show the first and the last rows in a notebook."""
        return str(self.to_frame().to_html(max_rows=10))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, calendar: Calendar, instruments: tuple[str, ...]) -> Predictions:
        """Make predictions from rows in any order, such as those of a model fitted elsewhere.

        Args:
            frame: Columns ``datetime``, ``instrument``, ``score``, and if there are any ``label`` and ``window`` (the
                windows' indices, not falling in time); without ``window`` the rows are one window. They may also be
                index levels.
            calendar, instruments: Those of the panel; instruments sorted.

        Raises:
            DataError: When a column is missing, a time or an instrument is unknown, or a row occurs twice.
        """
        where = "Predictions.from_frame"
        frame = frame.reset_index() if "datetime" in frame.index.names else frame
        for column in ("datetime", "instrument", "score"):
            if column not in frame.columns:
                got, hint = ", ".join(map(str, frame.columns)), closest(column, map(str, frame.columns))
                raise DataError(f"The frame lacks the column `{column}`.", where=where, got=got, hint=hint)
        if frame.empty:
            raise DataError("There are no predictions.", where=where, expected="at least one row")
        times = _positions(frame["datetime"].to_numpy(dtype="datetime64[ns]"), calendar.times, "time")
        names = np.array(instruments, dtype=np.str_)
        codes = _positions(frame["instrument"].to_numpy(dtype=np.str_), names, "instrument")
        order = np.lexsort((codes, times))
        times, codes = times[order], codes[order]
        again = np.flatnonzero((np.diff(times) == 0) & (np.diff(codes) == 0))
        if again.size:
            got = f"{instruments[codes[again[0]]]} at {calendar.format(int(times[again[0]]))}"
            expected = "one score per time and instrument"
            raise DataError(f"{again.size} prediction(s) occur twice.", where=where, got=got, expected=expected)
        start = int(times[0])
        columns = {c: frame[c].to_numpy()[order] for c in ("score", "label", "window") if c in frame.columns}
        label = columns.get("label", np.full(order.size, np.nan)).astype(np.float32)
        score, starts = columns["score"].astype(np.float32), _window_starts(columns.get("window"), times)
        offsets = offsets_of(times - start)
        return cls(calendar, tuple(instruments), start, offsets, codes.astype(np.int32), score, label, starts)

    def write_parquet(self, path: Path) -> None:
        """Write everything into one Parquet file that can be read alone; equal predictions give equal bytes.

        The rows are those of `to_frame`; calendar, instruments, start and windows stand in the file's metadata.
        """
        context = {
            "schema_version": SCHEMA_VERSION,
            "calendar": base64.b64encode(self.calendar.times.astype("<i8").tobytes()).decode(),
            "instruments": list(self.instruments),
            "start": self.start,
            "stop": self.stop,
            "window_starts": self.window_starts.tolist(),
            **({"levels": list(self.levels)} if self.levels else {}),
        }
        metadata = {_METADATA: json.dumps(context, sort_keys=True).encode()}
        pq.write_table(self._table().replace_schema_metadata(metadata), path, compression="zstd")

    @classmethod
    def read_parquet(cls, path: Path) -> Predictions:
        """Read what `write_parquet` wrote; raises a `DataError` when the file is missing or something else."""
        table = read_table(path, "predictions")
        raw = (table.schema.metadata or {}).get(_METADATA)
        context: dict[str, Any] = {} if raw is None else json.loads(raw)
        if context.get("schema_version") != SCHEMA_VERSION:
            what = "The file does not hold predictions of this version."
            hint = "a frame of your own becomes predictions with Predictions.from_frame"
            got, expected = context.get("schema_version"), f"schema version {SCHEMA_VERSION}"
            raise DataError(what, where=str(path), got=got, expected=expected, hint=hint)
        start, stop = context["start"], context["stop"]
        calendar = Calendar(np.frombuffer(base64.b64decode(context["calendar"]), dtype="<i8").astype("datetime64[ns]"))
        times = np.searchsorted(calendar.times, table["datetime"].to_numpy().astype("datetime64[ns]"))
        names = table["instrument"].combine_chunks()  # their dictionary need not have the order of the instruments
        column = np.searchsorted(np.array(context["instruments"], dtype=np.str_), names.dictionary.to_pylist() or [""])
        codes = column[names.indices.to_numpy()].astype(np.int32)
        score, label = np.array(table["score"].to_numpy()), np.array(table["label"].to_numpy())
        offsets, starts = offsets_of(times - start, stop - start), np.array(context["window_starts"], dtype=np.int64)
        levels = tuple(context.get("levels", ()))
        quantiles = np.stack([table[_column(level)].to_numpy() for level in levels], axis=1) if levels else None
        rest = (levels, quantiles)
        return cls(calendar, tuple(context["instruments"]), start, offsets, codes, score, label, starts, *rest)

    def _table(self) -> pa.Table:
        instruments = named(self.codes, self.instruments)
        window = np.searchsorted(self.window_starts, self.row_times, side="right") - 1
        columns = {"score": self.score, "label": self.label, "window": window.astype(np.int32)}
        if self.quantiles is not None:
            columns |= {_column(level): self.quantiles[:, at] for at, level in enumerate(self.levels)}
        times = column_of(self.calendar.times[self.row_times])
        numbers = {name: column_of(values) for name, values in columns.items()}
        return pa.table({"datetime": times, "instrument": instruments, **numbers})


def _encoded(names: tuple[str, ...], codes: npt.NDArray[np.int32]) -> npt.NDArray[np.bytes_]:
    """Return (n,) names in UTF-8, as wide as the longest of those that occur; each is encoded once."""
    occurs = np.flatnonzero(np.bincount(codes, minlength=len(names)))
    place = np.zeros(len(names), dtype=np.int64)
    place[occurs] = np.arange(occurs.size)
    return np.char.encode(np.array(names, dtype=np.str_)[occurs], "utf-8")[place[codes]]


def _column(level: float) -> str:
    return f"quantile_{level:g}"


def offsets_of(times: npt.NDArray[np.int64], size: int = 0) -> npt.NDArray[np.int64]:
    """Return (S + 1,) int64 row offsets of rows in the order of their times, counted from 0, for at least `size`."""
    return np.concatenate([[0], np.cumsum(np.bincount(times, minlength=size))]).astype(np.int64)


def read_table(path: Path, what: str) -> pa.Table:
    """Return the table of a Parquet file; a `DataError` says `what` cannot be read."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(f"The {what} cannot be read.", where=str(path), got=got) from error


def _positions(values: npt.NDArray[Any], known: npt.NDArray[Any], what: str) -> npt.NDArray[np.int64]:
    at = np.minimum(np.searchsorted(known, values), known.size - 1)
    strange = known[at] != values
    if strange.any():
        first, told = str(values[strange][0]), f"{int(strange.sum())} prediction(s) have an unknown {what}."
        hint = closest(first, map(str, known.tolist())) if what == "instrument" else None
        raise DataError(told, where="Predictions.from_frame", got=first, expected=f"a {what} of the panel", hint=hint)
    return at.astype(np.int64)


def _window_starts(window: npt.NDArray[Any] | None, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if window is None:
        return times[:1].copy()
    change = np.diff(window.astype(np.int64))
    if (change < 0).any() or change[np.diff(times) == 0].any():
        expected = "a window index that rises with time, one per time"
        raise DataError("The windows overlap or fall in time.", where="Predictions.from_frame", expected=expected)
    starts: npt.NDArray[np.int64] = times[np.append(True, change > 0)]
    return starts

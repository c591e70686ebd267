"""The sample table of a poisoned panel; features up to a cut taken from another table where they are proved."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from harness.audit.poison import Floats, differ, label_of
from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.execution.progress import Silent
from harness.features.engine import compute_features, compute_period, known_fields
from harness.features.expression import windows_of
from harness.run.feature_chunks import LENGTH
from harness.samples.chunks import LazyRows, Rows, chunk_borders
from harness.samples.preprocess import IN_MEMORY
from harness.samples.table import RowIndex, SampleTable, index_rows
from harness.store.fingerprint import fingerprint_arrays


@dataclass(frozen=True, eq=False)
class Past:
    """The features of the times before a position, and a digest of the panel that they must have been made of.

    Attributes:
        names: The F features.
        features: (n, F) float32, in consecutive parts; n rows before the position.
        stop: The calendar position.
        digest: Of the panel and its rows before that, see `digest_of`.
    """

    names: tuple[str, ...]
    features: tuple[Floats, ...]
    stop: int
    digest: str

    @property
    def rows(self) -> int:
        """The number n of rows."""
        return sum(len(part) for part in self.features)


def digest_of(panel: Panel, index: RowIndex, stop: int) -> str:
    """Return a digest of everything that a panel and its rows show before calendar position `stop`."""
    arrays: dict[str, npt.NDArray[np.generic]] = {f"field:{k}": v[:stop] for k, v in panel.fields.items()}
    arrays |= {"membership": panel.membership[:stop], "calendar": panel.calendar.times}
    arrays |= {"instruments": np.array(panel.instruments, np.str_)}
    arrays |= {"offsets": index.offsets[: stop + 1], "codes": index.codes[: int(index.offsets[stop])]}
    return fingerprint_arrays(arrays)


def past_of(panel: Panel, table: SampleTable, stop: int) -> Past:
    """Return the features of a panel's table before calendar position `stop`; nothing is read that lies in files."""
    borders = [0, *(min(last, stop) for _, last in chunk_borders(len(panel.calendar), LENGTH))]
    parts = (table.features[table.index.rows(*period)] for period in itertools.pairwise(borders))
    return Past(
        table.feature_names, tuple(part for part in parts if len(part)), stop, digest_of(panel, table.index, stop)
    )


@dataclass(eq=False)
class Future:
    """What a process that computes one world after the other keeps of them.

    Of the whole run's, which is made from its panel alone, the features before its cut: a world that is cut later has
    the same panel there. Of the first other future which the same one follows at every later cut, the features whose
    windows lie in it: they hold no real value.
    """

    past: Past | None = None
    panel: Panel | None = None
    index: RowIndex | None = None
    features: Floats | None = None

    def shared(self, config: ExperimentConfig, panel: Panel, index: RowIndex, start: int) -> int:
        """Return from which position on the features of a panel, another one from `start` on, are those kept here."""
        kept, stop, reach = self.panel, len(panel.calendar), windows_of(config.features.feature_set().parsed())
        if kept is None or self.index is None or reach is None or kept.fields.keys() != panel.fields.keys():
            return stop
        differs = (kept.membership[start:] != panel.membership[start:]).any(axis=1)
        for name, values in panel.fields.items():
            differs |= differ(np.array(kept.fields[name][start:]), np.array(values[start:])).any(axis=1)
        first = min(start + int(np.flatnonzero(differs)[-1] + 1 if differs.any() else 0) + reach, stop)
        mine, others = (rows.codes[int(rows.offsets[first]) :] for rows in (self.index, index))
        return first if np.array_equal(mine, others) else stop


def joined(config: ExperimentConfig, panel: Panel, past: Past, other: Future) -> SampleTable | None:
    """Return the table of `panel`, with the features of `past` before its position, and those of the panel after it.

    None when the panel's own past is not the one that these belong to, or when other features have values after it.
    Behind the last position there is no future.
    """
    start, stop, names = past.stop, len(panel.calendar), past.names
    index = index_rows(panel, listed=config.samples.rows == "listed")
    if start > stop or digest_of(panel, index, start) != past.digest:
        return None
    far = other.shared(config, panel, index, start)
    near = _features(config, panel, index, names, (start, far))
    if near is None:
        return None
    rest = int(index.offsets[stop] - index.offsets[far])
    parts = [*past.features, near]
    if other.features is None:
        other.panel, other.index, other.features = panel, index, near
    elif rest:
        parts.append(other.features[-rest:])
    bounds = np.cumsum([0, *map(len, parts)])
    return _table(config, panel, index, LazyRows.of_chunks(bounds, parts.__getitem__, len(names)), names)


def computed(config: ExperimentConfig, panel: Panel, folder: Path) -> SampleTable:
    """Return the table of a panel, made from it alone; features beyond `IN_MEMORY` lie in a file in `folder`."""
    features, index = config.features.feature_set(), index_rows(panel, listed=config.samples.rows == "listed")
    shape = int(index.offsets[-1]), len(features)
    large = 4 * shape[0] * shape[1] > IN_MEMORY
    path = folder / "features.npy"
    out = np.lib.format.open_memmap(path, "w+", np.float32, shape) if large else np.empty(shape, np.float32)
    matrix = compute_features(panel, features, index.offsets, index.codes, out=out)
    matrix.values.setflags(write=False)
    return _table(config, panel, index, matrix.values, matrix.names)


def _table(
    config: ExperimentConfig, panel: Panel, index: RowIndex, features: Rows, names: tuple[str, ...]
) -> SampleTable:
    return SampleTable(
        calendar=panel.calendar,
        instruments=panel.instruments,
        index=index,
        features=cast("Floats", features),
        feature_names=names,
        label=label_of(panel, config.label.expression_text, index.times(0, len(panel.calendar)), index.codes),
        look_ahead=config.label.look_ahead,
    )


@dataclass(eq=False)
class Splice:
    """Takes the features of times up to a cut from `table`, the real one of `panel`, once they are proved.

    They are reproduced, bit for bit, by a computation that was handed nothing beyond the cut: the panel truncated
    there, not a poisoned one. So they are a function of data that the poison left as they are. What cannot be proved
    that way is not spliced.
    """

    config: ExperimentConfig
    panel: Panel
    table: SampleTable
    _proved: int | None = 0  # None: refuted

    def past(self, cut: int) -> Past | None:
        """Return the features up to position `cut`; None when they are not proved to be made of the past alone."""
        start = cut + 1
        is_proved = start < len(self.panel.calendar) and self._is_causal(start)
        return past_of(self.panel, self.table, start) if is_proved else None

    def of(self, panel: Panel, cut: int, other: Future | None = None) -> SampleTable | None:
        """Return the table of `panel`, whose future after position `cut` is another one; None when it is not spliced.

        Then the table must be computed from the poisoned panel, and shows what it shows.
        """
        past = self.past(cut)
        return None if past is None else joined(self.config, panel, past, other or Future())

    def _is_causal(self, stop: int) -> bool:
        """Whether the real features before `stop` are reproduced from panels that end there; earlier proofs count."""
        if self._proved is not None and stop > self._proved:
            self._proved = stop if self._reproduced(self._proved, stop) else None
        return self._proved is not None

    def _reproduced(self, start: int, stop: int) -> bool:
        index, names = self.table.index, self.table.feature_names
        again = _features(self.config, _truncated(self.panel, stop), index, names, (start, stop))
        return again is not None and not differ(again, self.table.features[index.rows(start, stop)]).any()


class PastWriter:
    """Writes the features of one cut after the other: each only what the one before has not."""

    def __init__(self, folder: Path) -> None:
        """Take a folder that is not there yet."""
        self.folder, self._rows = folder, 0
        folder.mkdir(parents=True)

    def write(self, past: Past) -> Path:
        """Write what is new up to a later cut, and return the folder."""
        first = 0
        for features in past.features:
            new = features[max(self._rows - first, 0) :]
            first += len(features)
            if len(new):
                np.save(self.folder / f"{first:012}.npy", new)
        self._rows = past.rows
        text = json.dumps({"names": past.names, "stop": past.stop, "digest": past.digest})
        (self.folder / "past.json").write_text(text, encoding="utf-8", newline="\n")
        return self.folder


def read_past(folder: Path) -> Past:
    """Return what was written last; the features are memory-mapped."""
    said = json.loads((folder / "past.json").read_text(encoding="utf-8"))
    parts = tuple(np.load(part, mmap_mode="r") for part in sorted(folder.glob("*.npy")))
    return Past(tuple(said["names"]), parts, said["stop"], said["digest"])


def _features(
    config: ExperimentConfig, panel: Panel, index: RowIndex, names: tuple[str, ...], period: tuple[int, int]
) -> Floats | None:
    """Return the features of positions [start, stop) in the columns `names`; None when others have values."""
    rows, features = index.rows(*period), config.features.feature_set()
    if rows.start == rows.stop:
        return np.empty((0, len(names)), dtype=np.float32)
    computed = known_fields(panel, features)
    made = np.empty((rows.stop - rows.start, len(computed)), dtype=np.float32)
    known = compute_period(panel, features, index.offsets, index.codes, period, made, Silent())
    if not {name for name, has_value in zip(computed, known, strict=True) if has_value} <= set(names):
        return None
    if computed == names:
        return made
    values = np.full((len(made), len(names)), np.nan, dtype=np.float32)
    for at, name in enumerate(names):
        if name in computed:
            values[:, at] = made[:, computed.index(name)]
    return values


def _truncated(panel: Panel, stop: int) -> Panel:
    """Return the panel of positions before `stop`: what comes later is not in it."""
    return replace(
        panel,
        calendar=Calendar(panel.calendar.times[:stop]),
        fields={name: np.array(values[:stop]) for name, values in panel.fields.items()},
        membership=np.array(panel.membership[:stop]),
        benchmark=None,
        truth=None,
    )

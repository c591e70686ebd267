"""The sample table of a poisoned panel; features up to the cut taken from the real one where proved."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.audit.poison import Floats, differ, label_of
from harness.config import ExperimentConfig
from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.errors import DataError
from harness.features.engine import compute_features
from harness.samples.table import RowIndex, SampleTable, index_rows
from harness.store.fingerprint import fingerprint_arrays

_MARGIN = 250  # times computed before those that are wanted, so that windows are full


@dataclass(frozen=True, eq=False)
class Past:
    """The features of the times up to a cut, and a digest of the panel that they must have been made of.

    Attributes:
        names: The F features.
        features: (n, F) float32, in consecutive parts; n rows up to the cut.
        digest: Of the panel and its rows up to the cut, see `digest_of`.
    """

    names: tuple[str, ...]
    features: tuple[Floats, ...]
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
    """Return the features of a panel's table before calendar position `stop`."""
    features = (table.features[: int(table.index.offsets[stop])],)
    return Past(table.feature_names, features, digest_of(panel, table.index, stop))


def joined(config: ExperimentConfig, panel: Panel, cut: int, past: Past) -> SampleTable | None:
    """Return the table of `panel`, whose future after position `cut` is another one, with the features of `past`.

    None when the panel's own past is not the one that these belong to, or when other features have values after it.
    Behind the last position there is no future.
    """
    start, names = cut + 1, past.names
    index = index_rows(panel, listed=config.samples.rows == "listed")
    if start > len(panel.calendar) or digest_of(panel, index, start) != past.digest:
        return None
    future = _features(config, panel, index, names, (start, len(panel.calendar)))
    if future is None:
        return None
    times = index.times(0, len(panel.calendar))
    return SampleTable(
        calendar=panel.calendar,
        instruments=panel.instruments,
        index=index,
        features=np.concatenate([*past.features, future]),
        feature_names=names,
        label=label_of(panel, config.label.expression_text, times, index.codes),
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

    def of(self, panel: Panel, cut: int) -> SampleTable | None:
        """Return the table of `panel`, whose future after position `cut` is another one; None when it is not spliced.

        Then the table must be computed from the poisoned panel, and shows what it shows.
        """
        past = self.past(cut)
        return None if past is None else joined(self.config, panel, cut, past)

    def _is_causal(self, stop: int) -> bool:
        """Whether the real features before `stop` are reproduced from panels that end there; earlier proofs count."""
        if self._proved is not None and stop > self._proved:
            # From the last proof on is enough where windows are short; else from the first time.
            proved = any(self._reproduced(start, stop) for start in dict.fromkeys((self._proved, 0)))
            self._proved = stop if proved else None
        return self._proved is not None

    def _reproduced(self, start: int, stop: int) -> bool:
        index, names = self.table.index, self.table.feature_names
        again = _features(self.config, _truncated(self.panel, 0, stop), index, names, (start, stop))
        return again is not None and not differ(again, self.table.features[index.rows(start, stop)]).any()


class PastWriter:
    """Writes the features of one cut after the other: each only what the one before has not."""

    def __init__(self, folder: Path) -> None:
        """Take a folder that is not there yet."""
        self.folder, self._rows = folder, 0
        folder.mkdir(parents=True)

    def write(self, past: Past) -> Path:
        """Write what is new up to a later cut, and return the folder."""
        (features,) = past.features
        part = self.folder / f"{self._rows:012}.npy"
        np.save(part, features[self._rows :])
        self._rows = past.rows
        text = json.dumps({"names": past.names, "digest": past.digest})
        (self.folder / "past.json").write_text(text, encoding="utf-8", newline="\n")
        return self.folder


def read_past(folder: Path) -> Past:
    """Return what was written last; the features are memory-mapped."""
    said = json.loads((folder / "past.json").read_text(encoding="utf-8"))
    parts = tuple(np.load(part, mmap_mode="r") for part in sorted(folder.glob("*.npy")))
    return Past(tuple(said["names"]), parts, said["digest"])


def _features(
    config: ExperimentConfig, panel: Panel, index: RowIndex, names: tuple[str, ...], period: tuple[int, int]
) -> Floats | None:
    """Return the features of positions [start, stop) in the columns `names`; None when others have values."""
    start, stop = period
    first, rows = max(start - _MARGIN, 0), index.rows(start, stop)
    values = np.full((rows.stop - rows.start, len(names)), np.nan, dtype=np.float32)
    if not len(values):
        return values
    offsets = np.concatenate([np.zeros(start - first, dtype=np.int64), index.local_offsets(start, stop)])
    try:
        made = compute_features(
            _truncated(panel, first, stop), config.features.feature_set(), offsets, index.codes[rows]
        )
    except DataError:
        return None
    if not set(made.names) <= set(names):
        return None
    values[:, [names.index(name) for name in made.names]] = made.values
    return values


def _truncated(panel: Panel, start: int, stop: int) -> Panel:
    """Return the panel of positions [start, stop): what lies outside is not in it."""
    if (start, stop) == (0, len(panel.calendar)):
        return panel
    return replace(
        panel,
        calendar=Calendar(panel.calendar.times[start:stop]),
        fields={name: np.array(values[start:stop]) for name, values in panel.fields.items()},
        membership=np.array(panel.membership[start:stop]),
        benchmark=None,
        truth=None,
    )

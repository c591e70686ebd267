"""qlib's directory format: reader and writer.

    calendars/<freq>.txt                    one time per line
    instruments/<universe>.txt              code, first day, last day, separated by tabs
    features/<code>/<field>.<freq>.bin      little-endian float32: first the calendar position of the first value

Codes stand in `instruments` as they are; folders and files of `features` have their names in lower case, escaped by
`harness.store.files.file_name` where a file system or qlib asks for it. qlib itself escapes names of devices (``CON``)
only: it finds a code with a slash in another folder, or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.data.calendar import read_calendar, time_texts
from harness.data.codes import check_codes
from harness.data.membership import (
    Spans,
    UnknownMembers,
    mask_of,
    read_spans,
    spans_between,
    spans_of,
    write_spans,
)
from harness.data.panel import Benchmark, Panel
from harness.data.source import existing_file, existing_folder
from harness.data.text_files import write_lines
from harness.data.validation import check_panel
from harness.errors import ConfigError, DataError, closest
from harness.store.files import LONGEST, fault_of_file, file_name, file_twins, name_of_file, new_folder
from harness.store.fingerprint import fingerprint_file

Floats = npt.NDArray[np.float32]

ALL = "all"
"""The instruments file that names everything with a price."""

_FREQ = re.compile(r"day|\d+min|week|month")
_SHOWN = 5


@dataclass(frozen=True)
class QlibBinSource:
    """A folder in qlib's format.

    Attributes:
        path: The folder that holds ``calendars``, ``instruments`` and ``features``.
        universe: The file in ``instruments`` whose spans are the membership.
        instruments: The file in ``instruments`` that names what to load, such as ``all``; without one, the universe's
            own.
        fields: The fields to load.
        freq: ``day``, ``60min``, …
        price_field: The field whose presence says that an instrument traded.
        benchmark: Code whose price is the benchmark.
        unknown_members: What to do with codes that have no folder in ``features``: ``error`` or ``drop``.
        name: For reports.

    Raises:
        ConfigError: When a value is impossible.
    """

    path: str
    universe: str = "csi300"
    instruments: str | None = None
    fields: tuple[str, ...] = ("open", "high", "low", "close", "volume", "factor")
    freq: str = "day"
    price_field: str = "close"
    benchmark: str | None = None
    unknown_members: UnknownMembers = "error"
    name: str = "qlib_bin"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.price_field not in self.fields:
            raise ConfigError(
                "The fields lack the price field.",
                where="data.fields",
                got=", ".join(self.fields),
                expected=f"`{self.price_field}` among them",
            )
        if not _FREQ.fullmatch(self.freq):
            raise ConfigError("Unknown frequency.", where="data.freq", got=self.freq, expected="day, 60min, 30min, …")

    def inputs(self) -> dict[str, str]:
        """Return the digests of the calendar and the spans, and one over every feature file that is read."""
        listed, features = hashlib.sha256(), self._features()
        codes = [code for code in self._loaded().instruments if _folder(features, code).is_dir()]
        names = [(code, field) for code in codes for field in self.fields]
        names += [] if self.benchmark is None else [(self.benchmark, self.price_field)]
        for code, field in names:
            path = self._bin(code, field)
            digest = fingerprint_file(path) if path.is_file() else "absent"
            listed.update(f"{path.relative_to(features)}\0{digest}\n".encode())
        files = {"calendar": self._calendar_path(), "universe": self._spans_path(self.universe)}
        if self.instruments is not None:
            files["instruments"] = self._spans_path(self.instruments)
        return {key: fingerprint_file(path) for key, path in files.items()} | {"features": listed.hexdigest()}

    def load(self) -> Panel:
        """Return the panel.

        Raises:
            DataError: When a file is missing, truncated, or does not fit the calendar, or values are impossible.
        """
        calendar = read_calendar(self._calendar_path())
        spans = read_spans(self._spans_path(self.universe))
        wanted, features = self._loaded(), self._features()
        codes = tuple(code for code in wanted.instruments if _folder(features, code).is_dir())
        _refuse_twins(codes, "instruments", "folder")
        universe_file = str(self._spans_path(self.universe))
        if not codes:
            raise DataError(
                "None of the instruments has prices.", where=universe_file, expected=f"folders in {features}"
            )
        membership = mask_of(spans, calendar, codes, unknown=self.unknown_members, where=universe_file)
        fields = {field: np.full((len(codes), len(calendar)), np.nan, dtype=np.float32) for field in self.fields}
        for row, code in enumerate(codes):
            covered = {field: self._read(code, field, fields[field][row]) for field in self.fields}
            self._refuse_uneven(code, covered)
        panel = Panel(
            calendar=calendar,
            instruments=codes,
            fields={field: np.ascontiguousarray(values.T) for field, values in fields.items()},
            membership=membership,
            benchmark=self._benchmark(len(calendar)),
            price_field=self.price_field,
            name=self.name,
        )
        return check_panel(panel, where=self.path)

    def _benchmark(self, times: int) -> Benchmark | None:
        if self.benchmark is None:
            return None
        folder = _folder(self._features(), self.benchmark)
        if not folder.is_dir():
            raise DataError(
                "The benchmark has no prices.",
                where="data.benchmark",
                got=self.benchmark,
                expected=f"a code whose folder is in {folder.parent}",
                hint="data.benchmark=null reads the folder without an index",
            )
        level = np.full(times, np.nan, dtype=np.float32)
        self._read(self.benchmark, self.price_field, level)
        return Benchmark(name=self.benchmark, close=level)

    def _read(self, code: str, field: str, into: Floats) -> tuple[int, int]:
        """Copy one file into its (T,) place and return the positions [start, stop) that it covers."""
        path = self._bin(code, field)
        if not path.is_file():
            ending = f".{self.freq}.bin"
            known = sorted(name_of_file(e.name.removesuffix(ending)) for e in path.parent.glob(f"*{ending}"))
            raise DataError(
                f"Instrument {code} lacks the field `{field}`.",
                where=str(path),
                expected=f"one of {', '.join(known) or 'no field at all'}",
                hint=closest(field, known) or "leave the field out of `fields`",
            )
        size = path.stat().st_size
        if size < 8 or size % 4:
            raise DataError(
                "A feature file is truncated.", where=str(path), got=f"{size} bytes", expected="8, 12, 16 … bytes"
            )
        values = np.fromfile(path, dtype="<f4")
        start, count = float(values[0]), values.size - 1
        if not (start >= 0 and start.is_integer() and start + count <= into.size):
            raise DataError(
                "A feature file does not fit the calendar.",
                where=str(path),
                got=f"{count} values from position {start:g} on",
                expected=f"positions within 0 … {into.size - 1}",
                hint="the calendar and the features are of different versions, or the file is damaged",
            )
        into[int(start) : int(start) + count] = values[1:]
        return int(start), int(start) + count

    def _refuse_uneven(self, code: str, covered: dict[str, tuple[int, int]]) -> None:
        expected = covered[self.price_field]
        for field, got in covered.items():
            if got != expected:
                raise DataError(
                    "The fields of an instrument cover different times; a file may be truncated.",
                    where=str(self._bin(code, field)),
                    got=f"positions [{got[0]}, {got[1]})",
                    expected=f"[{expected[0]}, {expected[1]}) as `{self.price_field}` does",
                    hint=f"write the folder again, or leave `{field}` out of `fields`",
                )

    def _loaded(self) -> Spans:
        return read_spans(self._spans_path(self.instruments or self.universe))

    def _root(self) -> Path:
        expected = "a folder that holds calendars/, instruments/ and features/"
        return existing_folder(self.path, key="data.path", expected=expected)

    def _features(self) -> Path:
        return existing_folder(str(self._root() / "features"), key="data.path", expected="features/<code>/<field>.bin")

    def _calendar_path(self) -> Path:
        path = self._root() / "calendars" / f"{self.freq}.txt"
        return existing_file(str(path), key="data.freq", expected="a calendar of this frequency")

    def _spans_path(self, universe: str) -> Path:
        path = self._root() / "instruments" / f"{file_name(universe.lower())}.txt"
        return existing_file(str(path), key="data.universe", expected="an instruments file of this name")

    def _bin(self, code: str, field: str) -> Path:
        return _folder(self._root() / "features", code) / _bin_name(field, self.freq)


def write_qlib_bin(panel: Panel, folder: Path, *, universe: str, freq: str = "day") -> None:
    """Write a panel as a new folder in qlib's format, which `QlibBinSource` and qlib itself can read.

    ``instruments/all.txt`` holds the span from the first to the last value of every instrument, `universe` the
    membership. Each field covers the same span, so that a shorter file is known to be truncated. The benchmark is an
    instrument that is in no universe. The simulator's truth is not written.

    Raises:
        DataError: When the folder exists, or a name cannot be one of a file; before anything is written.
    """
    _check_names(panel, freq)
    with new_folder(folder) as staging:
        for name in ("calendars", "instruments", "features"):
            (staging / name).mkdir()
        write_lines(staging / "calendars" / f"{freq}.txt", time_texts(panel.calendar))
        present = np.logical_or.reduce([~np.isnan(values) for values in panel.fields.values()])
        listed = present.any(axis=0)
        start = np.where(listed, present.argmax(axis=0), 0)
        stop = np.where(listed, present.shape[0] - present[::-1].argmax(axis=0), 1)
        everything = spans_between(panel.instruments, panel.calendar, start, stop)
        write_spans(everything, staging / "instruments" / f"{ALL}.txt")
        members = spans_of(panel.membership, panel.calendar, panel.instruments)
        write_spans(members, staging / "instruments" / f"{file_name(universe.lower())}.txt")
        for column, code in enumerate(panel.instruments):
            span = slice(int(start[column]), int(stop[column]))
            own = {name: values[span, column] for name, values in panel.fields.items()}
            _write_bins(_folder(staging / "features", code), own, span.start, freq)
        if panel.benchmark is not None:
            level = {panel.price_field: panel.benchmark.close}
            _write_bins(_folder(staging / "features", panel.benchmark.name), level, 0, freq)


def _write_bins(folder: Path, fields: dict[str, Floats], start: int, freq: str) -> None:
    folder.mkdir()
    for name, values in fields.items():
        data = np.concatenate([np.array([start], dtype="<f4"), values.astype("<f4")])
        (folder / _bin_name(name, freq)).write_bytes(data.tobytes())


def _folder(features: Path, code: str) -> Path:
    """Return the folder of a code; a plain name that others wrote without the escape is found too."""
    plain, escaped = code.lower(), features / file_name(code).lower()
    is_one_name = plain not in (".", "..") and not set(plain) & {"/", "\\"}
    return features / plain if is_one_name and not escaped.is_dir() and (features / plain).is_dir() else escaped


def _bin_name(field: str, freq: str) -> str:
    return f"{file_name(field).lower()}.{freq}.bin"


def _check_names(panel: Panel, freq: str) -> None:
    """Refuse what the format cannot hold: names whose files would be one file, or none at all."""
    own = [] if panel.benchmark is None else [panel.benchmark.name]
    codes, fields = [*panel.instruments, *own], list(panel.fields)
    check_codes(own, where="benchmark")
    for kind, place, names in (("instruments", "folder", codes), ("fields", "file", fields)):
        _refuse_twins(names, kind, place)
    files = [*((code, file_name(code).lower()) for code in codes), *((name, _bin_name(name, freq)) for name in fields)]
    faults = [(name, fault) for name, file in files if (fault := fault_of_file(file)) is not None]
    if faults:
        raise DataError(
            f"{len(faults)} name(s) cannot be those of files.",
            where="features",
            got="; ".join(f"{name[:40]} {fault}" for name, fault in faults[:_SHOWN]),
            expected=f"at most {LONGEST} bytes, in the encoding of this locale",
            hint="use --to long, which keeps every name",
        )


def _refuse_twins(names: Sequence[str], kind: str, place: str) -> None:
    twins = [f"{a} and {b}" for a, b in file_twins(names)]
    if twins:
        raise DataError(
            f"Two {kind} would share a {place}, for its name is lower case.",
            where="features",
            got=", ".join(twins[:_SHOWN]),
            expected="names that differ in more than case and the composition of accents, the benchmark's too",
            hint="rename one of them, or use --to long, which keeps every name",
        )

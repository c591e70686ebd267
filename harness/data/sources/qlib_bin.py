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

from harness.data.calendar import read_calendar
from harness.data.codes import check_codes
from harness.data.membership import UnknownMembers, mask_of, read_spans, spans_between, spans_of, write_spans
from harness.data.panel import Benchmark, Floats, Panel
from harness.data.source import existing_file
from harness.data.text_files import SHOWN, write_lines
from harness.data.validation import check_panel
from harness.errors import ConfigError, DataError, closest
from harness.store.files import LONGEST, equal_files, fault_of_file, file_name, name_of_file, new_folder
from harness.store.fingerprint import fingerprint_file

ALL = "all"
"""The instruments file that names everything with a price."""
_CHANGE = "change"
_LONG = "use --to long, which keeps every name"
_FREQ = re.compile(r"day|\d+min|week|month")


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
        if self.price_field not in self.fields:
            what, expected = "The fields lack the price field.", f"`{self.price_field}` among them"
            raise ConfigError(what, where="data.fields", got=", ".join(self.fields), expected=expected)
        if not _FREQ.fullmatch(self.freq):
            raise ConfigError("Unknown frequency.", where="data.freq", got=self.freq, expected="day, 60min, 30min, …")

    def inputs(self) -> dict[str, str]:
        features, listed = self._below("features"), hashlib.sha256()
        names = [(code, field) for code in self._codes() for field in self.fields]
        names += [] if self.benchmark is None else [(self.benchmark, self.price_field)]
        for code, field in names:
            path = _folder(features, code) / _bin_name(field, self.freq)
            digest = fingerprint_file(path) if path.is_file() else "absent"
            listed.update(f"{path.relative_to(features)}\0{digest}\n".encode())
        files = {"calendar": self._below("calendars", self.freq, "data.freq"), "universe": self._spans(self.universe)}
        if self.instruments is not None:
            files["instruments"] = self._spans(self.instruments)
        return {key: fingerprint_file(path) for key, path in files.items()} | {"features": listed.hexdigest()}

    def load(self) -> Panel:
        calendar = read_calendar(self._below("calendars", self.freq, "data.freq"))
        features = self._below("features")
        where = str(self._spans(self.universe))
        spans, codes = read_spans(Path(where)), self._codes()
        _check_files(codes, "instruments", "folder")
        if not codes:
            raise DataError("None of the instruments has prices.", where=where, expected=f"folders in {features}")
        membership = mask_of(spans, calendar, codes, unknown=self.unknown_members, where=where)
        fields = {field: np.full((len(codes), len(calendar)), np.nan, dtype=np.float32) for field in self.fields}
        for row, code in enumerate(codes):
            folder = _folder(features, code)
            covered = {field: self._read(folder, code, field, fields[field][row]) for field in self.fields}
            expected = covered[self.price_field]
            for field, got in covered.items():
                if got != expected:
                    what = "The fields of an instrument cover different times; a file may be truncated."
                    hint = f"write the folder again, or leave `{field}` out of `fields`"
                    place = folder / _bin_name(field, self.freq)
                    found, wanted = (f"positions [{those.start}, {those.stop})" for those in (got, expected))
                    raise DataError(what, where=place, got=found, expected=wanted, hint=hint)
        dense = {field: np.ascontiguousarray(values.T) for field, values in fields.items()}
        benchmark = self._benchmark(features, len(calendar)) if self.benchmark is not None else None
        panel = Panel(calendar, codes, dense, membership, benchmark, None, self.price_field, self.name)
        return check_panel(panel, where=self.path)

    def _benchmark(self, features: Path, times: int) -> Benchmark:
        name, level = str(self.benchmark), np.full(times, np.nan, dtype=np.float32)
        folder = _folder(features, name)
        if not folder.is_dir():
            what, expected = "The benchmark has no prices.", f"a code whose folder is in {features}"
            hint = "data.benchmark=null reads the folder without an index"
            raise DataError(what, where="data.benchmark", got=name, expected=expected, hint=hint)
        self._read(folder, name, self.price_field, level)
        return Benchmark(name=name, close=level)

    def _read(self, folder: Path, code: str, field: str, into: Floats) -> range:
        """Copy one file into its (T,) place and return the positions that it covers."""
        path = folder / _bin_name(field, self.freq)
        if not path.is_file():
            ending = f".{self.freq}.bin"
            known = sorted(name_of_file(e.name.removesuffix(ending)) for e in folder.glob(f"*{ending}"))
            what, expected = f"Instrument {code} lacks the field `{field}`.", f"one of {', '.join(known) or 'no field'}"
            hint = closest(field, known) or "leave the field out of `fields`"
            raise DataError(what, where=path, expected=expected, hint=hint)
        size, expected = path.stat().st_size, "8, 12, 16 … bytes"
        if size < 8 or size % 4:
            raise DataError("A feature file is truncated.", where=path, got=f"{size} bytes", expected=expected)
        values = np.fromfile(path, dtype="<f4")
        start, count = float(values[0]), values.size - 1
        if not (start >= 0 and start.is_integer() and start + count <= into.size):
            what, expected = "A feature file does not fit the calendar.", f"positions within 0 … {into.size - 1}"
            hint = "the calendar and the features are of different versions, or the file is damaged"
            got = f"{count} values from position {start:g} on"
            raise DataError(what, where=path, got=got, expected=expected, hint=hint)
        into[int(start) : int(start) + count] = values[1:]
        return range(int(start), int(start) + count)

    def _codes(self) -> tuple[str, ...]:
        spans, features = read_spans(self._spans(self.instruments or self.universe)), self._below("features")
        return tuple(code for code in spans.instruments if _folder(features, code).is_dir())

    def _spans(self, universe: str) -> Path:
        return self._below("instruments", file_name(universe.lower()), "data.universe")

    def _below(self, folder: str, name: str | None = None, key: str = "data.path") -> Path:
        """Return a folder of the dataset, or a text file in it; `key` is what chose it."""
        expected = "a folder that holds calendars/, instruments/ and features/"
        path = existing_file(self.path, key="data.path", expected=expected, kind="folder") / folder
        if name is None:
            return existing_file(str(path), key=key, expected=expected, kind="folder")
        return existing_file(str(path / f"{name}.txt"), key=key, expected=f"a file of this name in {folder}/")


def write_qlib_bin(panel: Panel, folder: Path, *, universe: str, freq: str = "day") -> None:
    """Write a panel as a new folder in qlib's format, which `QlibBinSource` and qlib itself can read.

    ``instruments/all.txt`` holds the span from the first to the last value of every instrument, `universe` the
    membership. Each field covers the same span, so that a shorter file is known to be truncated. The benchmark is an
    instrument that is in no universe. The simulator's truth is not written. A panel of prices gets the field ``change``
    if it has none: without it qlib's exchange knows no price limits, and says nothing.

    Raises:
        DataError: When the folder exists, or a name cannot be one of a file; before anything is written.
    """
    index = [] if panel.benchmark is None else [panel.benchmark.name]
    check_codes(index, where="benchmark")
    _check_files([*panel.instruments, *index], "instruments", "folder")
    _check_files(list(panel.fields), "fields", "file", f".{freq}.bin")
    present = panel.present
    listed = present.any(axis=0)
    start = np.where(listed, present.argmax(axis=0), 0)
    stop = np.where(listed, present.shape[0] - present[::-1].argmax(axis=0), 1)
    spans = {
        ALL: spans_between(panel.instruments, panel.calendar, start, stop),
        file_name(universe.lower()): spans_of(panel.membership, panel.calendar, panel.instruments),
    }
    with new_folder(folder) as staging:
        for name in ("calendars", "instruments", "features"):
            (staging / name).mkdir()
        write_lines(staging / "calendars" / f"{freq}.txt", panel.calendar.texts)
        for name, those in spans.items():
            write_spans(those, staging / "instruments" / f"{name}.txt")
        bins = [
            (code, int(start[at]), {name: values[start[at] : stop[at], at] for name, values in panel.fields.items()})
            for at, code in enumerate(panel.instruments)
        ]
        if panel.benchmark is not None:
            bins.append((panel.benchmark.name, 0, {panel.price_field: panel.benchmark.close}))
        for code, first, fields in bins:
            if panel.price_field in fields:
                fields = {_CHANGE: _changes(fields[panel.price_field])} | fields
            own = _folder(staging / "features", code)
            own.mkdir()
            for name, values in fields.items():
                data = np.concatenate([np.array([first], dtype="<f4"), values.astype("<f4")])
                (own / _bin_name(name, freq)).write_bytes(data.tobytes())


def _changes(prices: Floats) -> Floats:
    """Return (T,) each price over the last one before it, less 1; NaN where there is none."""
    traded = np.flatnonzero(~np.isnan(prices))
    changes, known = np.full(prices.shape, np.nan, dtype=np.float32), prices[traded].astype(np.float64)
    changes[traded[1:]] = known[1:] / known[:-1] - 1.0
    return changes


def _folder(features: Path, code: str) -> Path:
    """Return the folder of a code; a plain name that others wrote without the escape is found too."""
    plain, escaped = code.lower(), features / file_name(code).lower()
    is_one_name = plain not in (".", "..") and not set(plain) & {"/", "\\"}
    return features / plain if is_one_name and not escaped.is_dir() and (features / plain).is_dir() else escaped


def _bin_name(field: str, freq: str) -> str:
    return f"{file_name(field).lower()}.{freq}.bin"


def _check_files(names: Sequence[str], kind: str, place: str, ending: str = "") -> None:
    """Refuse names of which two would be one file or folder, and those that no file can have."""
    equal = [f"{a} and {b}" for a, b in equal_files(names)]
    if equal:
        what, got = f"Two {kind} would share a {place}, for its name is lower case.", ", ".join(equal[:SHOWN])
        expected = "names that differ in more than case and the composition of accents, the benchmark's too"
        raise DataError(what, where="features", got=got, expected=expected, hint=f"rename one of them, or {_LONG}")
    files = ((name, f"{file_name(name).lower()}{ending}") for name in names)
    faults = [f"{name[:40]} {fault}" for name, file in files if (fault := fault_of_file(file)) is not None]
    if faults:
        what, expected = f"{len(faults)} name(s) cannot be those of files.", f"at most {LONGEST} bytes, in this locale"
        raise DataError(what, where="features", got="; ".join(faults[:SHOWN]), expected=expected, hint=_LONG)

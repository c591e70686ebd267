"""Public tables of series that are fetched once, checked by their digest, and read from their own form."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from annotated_types import Gt, Le

from harness.data.panel import Panel
from harness.data.series import SeriesFormat
from harness.data.sources.fetch import check_address, fetch, refused
from harness.data.sources.tabular import TabularSource
from harness.errors import DataError
from harness.errors.limits import check_limits
from harness.errors.redaction import redacted
from harness.store.files import write_atomically
from harness.store.fingerprint import fingerprint_file

_HOUR = "1h"
_LEAST_MINUTES = 30  # of an hour, below which its mean is missing
_QUARTERS = 4


def read_uci_load(path: Path) -> pd.DataFrame:
    """Return UCI's ElectricityLoadDiagrams20112014 hourly: columns ``time``, ``series``, ``value`` (kW, hour ending).

    The file, in a zip or unpacked, has a row per quarter of an hour and a column per client; decimals have commas. A
    client begins with its first value that is not 0. The hour that clocks skip in March is 0 for all, and left out; the
    two of October are one row of the file, their sum, and stay so.

    Raises:
        DataError: When the file has another form.
    """
    try:
        with path.open("rb") as file:
            packed = zipfile.is_zipfile(file)
        wide = pd.read_csv(path, sep=";", decimal=",", index_col=0, compression="zip" if packed else None)
        times = pd.DatetimeIndex(pd.to_datetime(wide.index.astype(str), format="%Y-%m-%d %H:%M:%S"), name="time")
        wide = wide.set_index(times).astype(np.float32)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise _other_form(path, "times in the first column, then a column per client, by semicolons", error) from error
    whole = wide.resample(_HOUR, closed="right", label="right")
    hours = whole.mean().where(whole.count() == _QUARTERS)
    hours = hours[(hours.fillna(0) != 0).any(axis=1)]
    begun = (hours.fillna(0) != 0).cumsum() > 0
    return hours.where(begun).reset_index().melt("time", var_name="series").dropna(ignore_index=True)


def read_folsom(path: Path) -> pd.DataFrame:
    """Return Folsom's irradiance hourly: ``time`` (UTC, hour ending), ``series``, ``value`` (GHI), ``dni``, ``dhi``.

    All are means in W/m² of the minutes of the file; an hour with fewer than half of them is missing.

    Raises:
        DataError: When the file has another form.
    """
    try:
        minutes = pd.read_csv(path, usecols=["timeStamp", "ghi", "dni", "dhi"])
        minutes.index = pd.DatetimeIndex(pd.to_datetime(minutes.pop("timeStamp")), name="time")
        whole = minutes.astype(np.float64).resample(_HOUR, closed="right", label="right")
    except (ValueError, OSError) as error:
        raise _other_form(path, "the columns timeStamp, ghi, dni and dhi", error) from error
    hours = whole.mean().where(whole.count() >= _LEAST_MINUTES).dropna(subset="ghi")
    found = hours.rename(columns={"ghi": "value"}).reset_index()
    found.insert(1, "series", "folsom")
    return found


def _other_form(path: Path, expected: str, error: Exception) -> DataError:
    got = f"{type(error).__name__}: {error}"
    return DataError("The file has another form than its publisher describes.", where=path, got=got, expected=expected)


READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = MappingProxyType(
    {"uci_load": read_uci_load, "folsom": read_folsom}
)


@dataclass(frozen=True)
class PublicSeries:
    """A published file of series, fetched once into a folder, and read hourly.

    Attributes:
        url: Where the file is, ``http`` or ``https``.
        file: What it is called in `folder`.
        reader: Which form it has: ``uci_load`` or ``folsom``.
        folder: Where it stays; a file that is there is not fetched again, so that it can also be put there by hand.
        sha256: Its expected digest. None: whatever arrives first is taken, its digest recorded beside it, and another
            one refused from then on.
        timeout: Seconds to wait for the server.
        instruments: Which series to keep; empty keeps all.
        series: What sets of series declare beyond a panel: how often there are values, what is known ahead.
        name: For reports.

    Raises:
        ConfigError: When a value is impossible.
    """

    url: str
    file: str
    reader: Literal["uci_load", "folsom"]
    folder: str
    sha256: str | None = None
    timeout: Annotated[float, Gt(0), Le(86_400)] = 60.0
    instruments: tuple[str, ...] = ()
    series: SeriesFormat = field(default_factory=SeriesFormat)
    name: str = "series"

    def __post_init__(self) -> None:
        check_address(self.url, self.sha256)
        check_limits(self, "data")

    def inputs(self) -> dict[str, str]:
        return {self.file: self._fetched()[1]}

    def load(self) -> Panel:
        path, digest = self._fetched()
        hourly = path.with_name(f"{path.name}.{digest[:12]}.parquet")
        if not hourly.exists():
            write_atomically(hourly, READERS[self.reader](path).to_parquet(index=False))
        table = pd.read_parquet(hourly)
        kept = table["series"].isin(self.instruments) if self.instruments else np.ones(len(table), dtype=bool)
        if missing := sorted(set(self.instruments) - set(table["series"])):
            what, expected = f"{len(missing)} series are not in the file.", f"such as {table['series'].iloc[0]}"
            raise DataError(what, where="data.instruments", got=", ".join(missing[:8]), expected=expected)
        shown = hourly
        if not kept.all():
            shown = hourly.with_name(f"{hourly.stem}.{_digest_of(self.instruments)}.parquet")
            if not shown.exists():
                write_atomically(shown, table[kept].to_parquet(index=False))
        fields = [str(column) for column in table if column not in ("time", "series")]
        columns = {"time": "time", "instrument": "series", **{name: name for name in fields}}
        same = (str(shown), columns, "value")
        return TabularSource(*same, name=self.name, series=self.series, negative_prices=True).load()

    def _fetched(self) -> tuple[Path, str]:
        """Return the file, fetched if it is not there, and its digest, held to what was expected or recorded."""
        folder = Path(self.folder).expanduser()
        path, receipt = folder / self.file, folder / f"{self.file}.json"
        if not path.exists():
            self._retrieve(path)
        digest = fingerprint_file(path)
        try:
            recorded = None if not receipt.exists() else str(json.loads(receipt.read_text(encoding="utf-8"))["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("The record of a download is damaged.", where=receipt, hint="remove it") from error
        expected = self.sha256 or recorded
        if expected not in (None, digest):
            what, hint = "The file has another checksum.", "remove it to fetch it again, and see why it has changed"
            raise DataError(what, where=path, got=digest, expected=f"SHA-256 {expected}", hint=hint)
        if recorded is None:
            record = json.dumps({"sha256": digest, "url": redacted(self.url)}, indent=2) + "\n"
            write_atomically(receipt, record.encode())
        return path, digest

    def _retrieve(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{path.name}.", suffix=".download", dir=path.parent) as scratch:
            arrived = Path(scratch) / path.name
            fetch(self.url, arrived, self.timeout, f"the file; it may also be put at {path} by hand")
            digest = fingerprint_file(arrived)
            if self.sha256 not in (None, digest):
                what, hint = "The download has another checksum", "the file at the address has changed"
                raise refused(self.url, what, digest, f"SHA-256 {self.sha256}", hint)
            arrived.replace(path)


def _digest_of(names: tuple[str, ...]) -> str:
    """Return a short name for a choice of series."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]

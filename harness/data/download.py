"""A dataset in qlib's format that is fetched by URL, checked, and unpacked once."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Annotated

import pooch
import requests
from annotated_types import Gt, Le
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from harness.data.archive import unpack
from harness.data.atomic_folder import new_folder
from harness.data.membership import UnknownMembers
from harness.data.panel import Panel
from harness.data.qlib_bin import QlibBinSource
from harness.errors import ConfigError, DataError
from harness.errors.limits import Positive, check_limits
from harness.errors.redaction import redacted
from harness.store.fingerprint import fingerprint_file

_RECEIPT = "download.json"
_CHUNK = 1 << 18
_DIRECTORIES = {"calendars", "instruments", "features"}


@dataclass(frozen=True)
class DownloadSource:
    """An archive (tar or zip) of a folder in qlib's format.

    Attributes
    ----------
    url
        Where it is, ``http`` or ``https``.
    folder
        Where the unpacked data stand. It appears only when complete; afterwards nothing is fetched.
    sha256
        Expected digest of the archive; without one, whatever arrives is taken and its digest recorded in `inputs`.
    timeout
        Seconds to wait for the server to answer, and between two pieces.
    universe
        The file in ``instruments`` whose spans are the membership.
    instruments
        The file in ``instruments`` that names what to load; None loads the universe's own.
    fields
        The fields to load.
    freq
        ``day``, ``60min``, …
    price_field
        The field whose presence says that an instrument traded.
    benchmark
        Code whose price is the benchmark; None: there is none.
    unknown_members
        What to do with codes that have no folder in ``features``: ``error`` or ``drop``.
    name
        For reports.
    max_gigabytes
        How much may be fetched, and how much it may unpack to.

    Raises
    ------
    ConfigError
        When a value is impossible.
    """

    url: str
    folder: str
    sha256: str | None = None
    timeout: Annotated[float, Gt(0), Le(86_400)] = 30.0
    universe: str = "csi300"
    instruments: str | None = None
    fields: tuple[str, ...] = ("open", "high", "low", "close", "vwap", "volume", "factor")
    freq: str = "day"
    price_field: str = "close"
    benchmark: str | None = None
    unknown_members: UnknownMembers = "error"
    name: str = "download"
    max_gigabytes: Positive = field(default=50.0, metadata={"later": True})

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError("This address cannot be fetched.", where="data.url", got=self.url, expected="http(s)://…")
        if self.sha256 is not None and (len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef")):
            raise ConfigError("Not a SHA-256.", where="data.sha256", got=self.sha256, expected="64 hex digits, or null")
        check_limits(self, "data")
        self._unpacked()

    @property
    def _limit(self) -> int:
        return int(self.max_gigabytes * 1e9)

    def inputs(self) -> dict[str, str]:
        """Return the digests of the archive and of what was unpacked from it; fetches it when it is not there yet."""
        return {"archive": self._fetch()} | self._unpacked().inputs()

    def load(self) -> Panel:
        """Return the panel; fetches the archive when it is not there yet.

        Raises
        ------
        DataError
            When the server does not answer or refuses, the archive is truncated, has another digest, or is unsafe, or
            what is in it cannot be read.
        """
        self._fetch()
        return self._unpacked().load()

    def _unpacked(self) -> QlibBinSource:
        return QlibBinSource(
            path=self.folder,
            universe=self.universe,
            instruments=self.instruments,
            fields=self.fields,
            freq=self.freq,
            price_field=self.price_field,
            benchmark=self.benchmark,
            unknown_members=self.unknown_members,
            name=self.name,
        )

    def _fetch(self) -> str:
        """Make sure that the folder is there and return the archive's digest."""
        folder = Path(self.folder).expanduser()
        if folder.exists():
            return self._receipt(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".download", dir=folder.parent) as scratch:
            archive = self._retrieve(Path(scratch))
            digest = fingerprint_file(archive)
            unpack(archive, Path(scratch) / "unpacked", url=self.url, limit=self._limit)
            root = _root_of(Path(scratch) / "unpacked", self.url)
            with new_folder(folder) as staging:
                for entry in root.iterdir():
                    shutil.move(entry, staging / entry.name)
                receipt = json.dumps({"sha256": digest, "url": redacted(self.url)}, indent=2) + "\n"
                (staging / _RECEIPT).write_text(receipt, encoding="utf-8", newline="\n")
        return digest

    def _receipt(self, folder: Path) -> str:
        try:
            receipt = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
            url, digest = str(receipt["url"]), str(receipt["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                "The download folder was not written by a download.",
                where="data.folder",
                got=str(folder),
                expected=f"no such folder yet, or one that holds {_RECEIPT}",
                hint="choose another folder, or read it with `data=qlib_bin`",
            ) from error
        if redacted(url) != redacted(self.url) or (self.sha256 is not None and digest != self.sha256):
            raise DataError(
                "The download folder holds something else.",
                where=str(folder),
                got=f"{url} with SHA-256 {digest}",
                expected=f"{self.url} with SHA-256 {self.sha256 or '(any)'}",
                hint="remove the folder to fetch it again, or choose another one",
            )
        return digest

    def _retrieve(self, scratch: Path) -> Path:
        progress = _Bar(PurePosixPath(self.url).name)
        fetch = pooch.HTTPDownloader(progressbar=progress, chunk_size=_CHUNK, timeout=self.timeout)

        def downloader(url: str, output: str, caller: object) -> None:
            with Path(output).open("wb") as file:
                fetch(url, _Limited(file, self._limit, url), caller)

        known = None if self.sha256 is None else f"sha256:{self.sha256}"
        try:
            with _quiet(pooch.get_logger()):
                return Path(pooch.retrieve(self.url, known, fname="archive", path=scratch, downloader=downloader))
        except requests.RequestException as error:
            if error.response is not None:
                error.response.close()
            raise DataError(
                "The download failed; nothing was kept.",
                where=self.url,
                got=f"{type(error).__name__}: {error}",
                expected="an archive in qlib's format, sent within data.timeout",
                hint="check the address and the connection, then run again",
            ) from error
        except ValueError as error:
            raise DataError(
                "The download has another checksum; nothing was kept.",
                where=self.url,
                got=str(error),
                expected=f"SHA-256 {self.sha256}",
                hint="the file at the address has changed: check it, then update `data.sha256`",
            ) from error
        finally:
            progress.close()


class _Limited:
    """A file that takes so many bytes and no more."""

    def __init__(self, file: IO[bytes], limit: int, url: str) -> None:
        self._file, self._left, self._url = file, limit, url

    def write(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise DataError(
                "The download is larger than is allowed; nothing was kept.",
                where=self._url,
                expected="at most data.max_gigabytes",
                hint="check that the address is what it should be, then raise data.max_gigabytes",
            )
        self._file.write(piece)

    def flush(self) -> None:
        self._file.flush()


class _Bar:
    """What pooch expects of a progress bar, drawn on a terminal's standard error only."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(title, total=None)
        self._progress.start()

    @property
    def total(self) -> float | None:
        return self._progress.tasks[0].total

    @total.setter
    def total(self, size: int) -> None:
        self._progress.update(self._task, total=size or None)

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _root_of(unpacked: Path, url: str) -> Path:
    """Return the folder in what was unpacked that is in qlib's format."""
    below = sorted(path for path in unpacked.rglob("*") if path.is_dir() and path.parent.name != "features")
    for root in [unpacked, *below]:
        if all((root / name).is_dir() for name in _DIRECTORIES):
            return root
    raise DataError(
        "The archive holds no data in qlib's format. Nothing was kept.",
        where=url,
        got=f"top level: {', '.join(sorted(path.name for path in unpacked.iterdir())[:8]) or 'empty'}",
        expected=f"a folder that holds {', '.join(sorted(_DIRECTORIES))}",
    )

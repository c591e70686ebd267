"""A dataset in qlib's format that is fetched by URL, checked, and unpacked once."""

from __future__ import annotations

import json
import logging
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Annotated

import pooch
import requests
from annotated_types import Gt, Le
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from harness.data.membership import UnknownMembers
from harness.data.panel import Panel
from harness.data.sources.qlib_bin import QlibBinSource
from harness.errors import ConfigError, DataError
from harness.errors.limits import Positive, check_limits
from harness.errors.redaction import redacted
from harness.store.files import new_folder
from harness.store.fingerprint import fingerprint_file

_PIECE = 1 << 20
_LEAST = 512  # bytes that an entry counts for: a header of a tar; millions of empty files are a bomb too
_BLOCK = 512
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_KINDS = "a tar (plain, gz, bz2, xz) or zip archive"
# What Python's readers raise for archives that are damaged, encrypted, or packed in a way that they do not know.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(RuntimeError, NotImplementedError, ValueError, OverflowError),
)


def unpack(archive: Path, into: Path, *, url: str, limit: int) -> None:
    """Unpack a tar or zip archive into the new folder `into`.

    Args:
        archive: The file; its kind is told by its content.
        into: Is made; on an error its content is of no use.
        url: Where the archive came from, for messages.
        limit: How many bytes may be unpacked.

    Raises:
        DataError: When the file is no archive, is damaged, cut off or encrypted, holds more than `limit`, or an entry
            leads out of the folder, is a link or a device, or is there twice.
    """
    into.mkdir()
    with archive.open("rb") as file:
        start = file.read(512)
    _refuse_other(start, url)
    room = _Room(into, url, limit)
    try:
        if start.startswith(_ZIP):
            _unzip(archive, room)
        else:
            _untar(archive, room)
    except _DAMAGE as error:
        raise DataError(
            "The archive cannot be unpacked; it may be truncated. Nothing was kept.",
            where=url,
            got=f"{type(error).__name__}: {error}",
            expected=_KINDS,
        ) from error


@dataclass
class _Room:
    """The folder that entries are written to, and how much may still be."""

    into: Path
    url: str
    left: int

    def write(self, name: str, pieces: Iterator[bytes]) -> None:
        """Write one entry; refuses what leads out of the folder, is there already, or is too much."""
        target = self._place(name)
        self._take(_LEAST)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise self.refused("An entry is there twice", name, "each file once")
        with target.open("xb") as file:
            for piece in pieces:
                self._take(len(piece))
                file.write(piece)

    def refused(self, what: str, name: str, expected: str) -> DataError:
        return DataError(f"{what} in the archive. Nothing was kept.", where=self.url, got=name[:200], expected=expected)

    def _place(self, name: str) -> Path:
        relative, windows = PurePosixPath(name), PureWindowsPath(name)
        outside = relative.is_absolute() or windows.drive or windows.root or ".." in windows.parts
        if outside or "\\" in name or "\0" in name or not relative.parts:
            raise self.refused("There is an unsafe entry", name, "regular files below the archive's own folder")
        return self.into / relative

    def _take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DataError(
                "The archive unpacks to more than is allowed. Nothing was kept.",
                where=self.url,
                expected="at most data.max_gigabytes",
                hint="check that it is what it should be, then raise data.max_gigabytes",
            )


def _unzip(archive: Path, room: _Room) -> None:
    with zipfile.ZipFile(archive) as bundle:
        for entry in bundle.infolist():
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise room.refused("There is an unsafe entry", entry.filename, "regular files, no links or devices")
            if not entry.is_dir():
                with bundle.open(entry) as stream:
                    room.write(entry.filename, _pieces(stream))


def _untar(archive: Path, room: _Room) -> None:
    with tarfile.open(archive) as tape:
        for member in tape:
            if member.isdir():
                continue
            content = tape.extractfile(member) if member.isreg() else None
            if content is None:
                raise room.refused("There is an unsafe entry", member.name, "regular files, no links or devices")
            with content:
                room.write(member.name, _pieces(content))
        _check_end(tape)


def _check_end(tape: tarfile.TarFile) -> None:
    """Refuse a tar without its closing block, which Python takes for complete, and read on to the checksum after it."""
    file: IO[bytes] = tape.fileobj  # type: ignore[assignment]
    file.seek(tape.offset)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError("the closing block is missing")
    for _ in _pieces(file):
        pass


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def _refuse_other(start: bytes, url: str) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise DataError(
            "The server sent a web page instead of an archive; it cannot be unpacked. Nothing was kept.",
            where=url,
            got=start[:80].decode("ascii", "replace").strip(),
            expected=_KINDS,
            hint="open the address in a browser: it may have moved, or ask for a login",
        )
    if not start:
        raise DataError(
            "The archive is empty and cannot be unpacked. Nothing was kept.", where=url, got="0 bytes", expected=_KINDS
        )


_RECEIPT = "download.json"
_CHUNK = 1 << 18
_DIRECTORIES = {"calendars", "instruments", "features"}


@dataclass(frozen=True)
class DownloadSource:
    """An archive (tar or zip) of a folder in qlib's format.

    Attributes:
        url: Where it is, ``http`` or ``https``.
        folder: Where the unpacked data stand. It appears only when complete; afterwards nothing is fetched.
        sha256: Expected digest of the archive; without one, whatever arrives is taken and its digest recorded in
            `inputs`.
        timeout: Seconds to wait for the server to answer, and between two pieces.
        universe: The file in ``instruments`` whose spans are the membership.
        instruments: The file in ``instruments`` that names what to load; None loads the universe's own.
        fields: The fields to load.
        freq: ``day``, ``60min``, …
        price_field: The field whose presence says that an instrument traded.
        benchmark: Code whose price is the benchmark; None: there is none.
        unknown_members: What to do with codes that have no folder in ``features``: ``error`` or ``drop``.
        name: For reports.
        max_gigabytes: How much may be fetched, and how much it may unpack to.

    Raises:
        ConfigError: When a value is impossible.
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

        Raises:
            DataError: When the server does not answer or refuses, the archive is truncated, has another digest, or is
                unsafe, or what is in it cannot be read.
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

"""A dataset in qlib's format that is fetched by URL, checked, and unpacked once."""

from __future__ import annotations

import json
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Annotated

from annotated_types import Gt, Le

from harness.data.membership import UnknownMembers
from harness.data.panel import Panel
from harness.data.sources.fetch import BATCH, check_address, fetch, refused
from harness.data.sources.qlib_bin import QlibBinSource
from harness.errors import DataError
from harness.errors.limits import Positive, check_limits
from harness.errors.redaction import redacted
from harness.store.files import new_folder
from harness.store.fingerprint import fingerprint_file
from harness.store.records import LATER

_LEAST = 512  # bytes that an entry counts for: a header of a tar; millions of empty files are a bomb too
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PAGE = (b"<!doctype html", b"<html", b"<?xml")
_KINDS = "a tar (plain, gz, bz2, xz) or zip archive"
# What Python's readers raise for archives that are damaged, encrypted, or packed in a way that they do not know.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(RuntimeError, NotImplementedError, ValueError, OverflowError),
)
_RECEIPT = "download.json"
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
    max_gigabytes: Positive = field(default=50.0, metadata=LATER)

    def __post_init__(self) -> None:
        check_address(self.url, self.sha256)
        check_limits(self, "data")
        self._unpacked()

    def inputs(self) -> dict[str, str]:
        return {"archive": self._fetch()} | self._unpacked().inputs()

    def load(self) -> Panel:
        self._fetch()
        return self._unpacked().load()

    def _unpacked(self) -> QlibBinSource:
        shared = {f.name: getattr(self, f.name) for f in fields(QlibBinSource) if f.name != "path"}
        return QlibBinSource(path=self.folder, **shared)

    def _fetch(self) -> str:
        """Make sure that the folder is there and return the archive's digest."""
        folder = Path(self.folder).expanduser()
        if folder.exists():
            return self._recorded(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".download", dir=folder.parent) as scratch:
            archive, unpacked = Path(scratch) / "archive", Path(scratch) / "unpacked"
            take = self._budget("The download is larger than is allowed", "the address is")
            fetch(self.url, archive, self.timeout, "an archive in qlib's format", take)
            digest = fingerprint_file(archive)
            if self.sha256 not in (None, digest):
                hint = "the file at the address has changed: check it, then update `data.sha256`"
                raise self._refused("The download has another checksum", digest, f"SHA-256 {self.sha256}", hint)
            self._unpack(archive, unpacked)
            root = self._root_of(unpacked)
            with new_folder(folder) as staging:
                for entry in root.iterdir():
                    shutil.move(entry, staging / entry.name)
                receipt = json.dumps({"sha256": digest, "url": redacted(self.url)}, indent=2) + "\n"
                (staging / _RECEIPT).write_text(receipt, encoding="utf-8", newline="\n")
        return digest

    def _recorded(self, folder: Path) -> str:
        """Return the digest that a finished download left."""
        try:
            receipt = json.loads((folder / _RECEIPT).read_text(encoding="utf-8"))
            url, digest = str(receipt["url"]), str(receipt["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            what, where = "The download folder was not written by a download.", "data.folder"
            expected, hint = f"none yet, or one with {_RECEIPT}", "choose another one, or read it with data=qlib_bin"
            raise DataError(what, where=where, got=folder, expected=expected, hint=hint) from error
        if redacted(url) != redacted(self.url) or self.sha256 not in (None, digest):
            got, expected = f"{url} with SHA-256 {digest}", f"{self.url} with SHA-256 {self.sha256 or '(any)'}"
            what, hint = "The download folder holds something else.", "remove it to fetch it again, or choose another"
            raise DataError(what, where=folder, got=got, expected=expected, hint=hint)
        return digest

    def _refused(self, what: str, got: str | None, expected: str, hint: str | None = None) -> DataError:
        return refused(self.url, what, got, expected, hint)

    def _budget(self, what: str, checked: str) -> Callable[[int], None]:
        """Return what counts bytes, and refuses to go beyond the limit."""
        left = int(self.max_gigabytes * 1e9)

        def take(size: int) -> None:
            nonlocal left
            left -= size
            if left < 0:
                hint = f"check that {checked} what it should be, then raise data.max_gigabytes"
                raise self._refused(what, None, "at most data.max_gigabytes", hint)

        return take

    def _unpack(self, archive: Path, into: Path) -> None:
        """Unpack a tar or zip archive, told by its content, into a new folder; on an error that is of no use."""
        with archive.open("rb") as file:
            start = file.read(512)
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
            what = "The server sent a web page instead of an archive; it cannot be unpacked"
            hint = "open the address in a browser: it may have moved, or ask for a login"
            raise self._refused(what, start[:80].decode("ascii", "replace").strip(), _KINDS, hint)
        if not start:
            raise self._refused("The archive is empty and cannot be unpacked", "0 bytes", _KINDS)
        into.mkdir()
        take = self._budget("The archive unpacks to more than is allowed", "it is")
        try:
            for name, stream in (_zipped if start.startswith(_ZIP) else _taped)(archive):
                if stream is None or _leads_outside(name):
                    expected = "regular files below the archive's own folder, no links"
                    raise self._refused("There is an unsafe entry in the archive", name[:200], expected)
                target = into / PurePosixPath(name)
                if target.exists():
                    raise self._refused("An entry is there twice in the archive", name, "each file once")
                take(_LEAST)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    while batch := stream.read(BATCH):
                        take(len(batch))
                        file.write(batch)
        except _DAMAGE as error:
            what, got = "The archive cannot be unpacked; it may be truncated", type(error).__name__
            raise self._refused(what, f"{got}: {error}", _KINDS) from error

    def _root_of(self, unpacked: Path) -> Path:
        """Return the folder in what was unpacked that is in qlib's format."""
        below = sorted(path for path in unpacked.rglob("*") if path.is_dir() and path.parent.name != "features")
        for root in [unpacked, *below]:
            if all((root / name).is_dir() for name in _DIRECTORIES):
                return root
        got = f"top level: {', '.join(sorted(path.name for path in unpacked.iterdir())[:8]) or 'empty'}"
        expected = f"a folder that holds {', '.join(sorted(_DIRECTORIES))}"
        raise self._refused("The archive holds no data in qlib's format", got, expected)


def _leads_outside(name: str) -> bool:
    """Return whether some system would put an entry elsewhere than below the folder that it is unpacked into."""
    windows = PureWindowsPath(name)
    is_rooted = PurePosixPath(name).is_absolute() or windows.drive or windows.root
    return bool(is_rooted or ".." in windows.parts or set(name) & {"\\", "\0"} or not PurePosixPath(name).parts)


def _zipped(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield the name and the content of each entry that is no folder; no content of what is no file."""
    with zipfile.ZipFile(archive) as bundle:
        for entry in bundle.infolist():
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                yield entry.filename, None
            elif not entry.is_dir():
                with bundle.open(entry) as stream:
                    yield entry.filename, stream


def _taped(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield as `_zipped` does."""
    with tarfile.open(archive) as tape:
        for member in tape:
            if not member.isdir():
                yield member.name, tape.extractfile(member) if member.isreg() else None
        # Python takes a tar without its closing block for complete; and a checksum may stand after it.
        file: IO[bytes] = tape.fileobj  # type: ignore[assignment]
        file.seek(tape.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the closing block is missing")
        while file.read(BATCH):
            pass

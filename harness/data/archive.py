"""Archives from elsewhere, unpacked into a folder: nothing outside it, nothing twice, nothing endless or cut off."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from harness.errors import DataError

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

    Parameters
    ----------
    archive
        The file; its kind is told by its content.
    into
        Is made; on an error its content is of no use.
    url
        Where the archive came from, for messages.
    limit
        How many bytes may be unpacked.

    Raises
    ------
    DataError
        When the file is no archive, is damaged, cut off or encrypted, holds more than `limit`, or an entry leads out
        of the folder, is a link or a device, or is there twice.
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

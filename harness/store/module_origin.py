"""Where a module comes from: the standard library, an installed distribution, or somebody's own code.

Installed is what a package manager has written down in a ``RECORD``; all else is own code, however it is found, also a
file that was put among the installed ones by hand. Nothing is imported to find out.
"""

from __future__ import annotations

import base64
import csv
import os
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from harness.store.fingerprint import fingerprint_file

_OURS = ("harness", "baselines")
_CODE = (".py", ".so", ".pyd", ".dylib", ".dll")
_STDLIB = Path(sysconfig.get_path("stdlib"))
_ARCHIVE = _STDLIB.with_name(f"python{sys.version_info[0]}{sys.version_info[1]}.zip")
_STANDARD = (_STDLIB, Path(sysconfig.get_path("platstdlib")), _ARCHIVE)
_SITES = ("site-packages", "dist-packages")
_SLACK_NS = 2_000_000_000  # between a file and the RECORD that is written after it, on coarse clocks


# Name and version of an installed distribution, then path and SHA-256 of every file of code that is no longer what was
# installed; of a distribution without a list of files, of the modules that are imported.
Library = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Origin:
    """Where a module comes from.

    Attributes:
        own: Whether it is own code.
        file: Its source, extension or archive member; None for a namespace package and for what is built into Python.
        library: The distribution that installed it; None for own code and the standard library.
        search: Where its submodules lie; None for a module that is no package.
        loader: What reads it, for files inside archives.
    """

    name: str
    own: bool
    file: Path | None = None
    library: Library | None = None
    search: tuple[str, ...] | None = None
    loader: Any = field(default=None, repr=False, compare=False)

    @property
    def ours(self) -> bool:
        """Whether it is this project's own."""
        return self.name.partition(".")[0] in _OURS


def origin_of(name: str, folders: Sequence[str] | None = None) -> Origin | None:
    """Return where a module comes from, or None when there is none of this name, on the path or in `folders`.

    Below the first package that is not own code everything is like that package.
    """
    found: Origin | None = None
    at = ""
    for part in name.split("."):
        if not part:
            return None
        if found is not None and not (found.own or (found.file is None and found.search)):
            return found
        at = f"{at}.{part}" if at else part
        found = _one(at, folders if found is None else found.search or ())
        if found is None:
            return None
    return found


def read_source(origin: Origin) -> bytes:
    """Return the bytes of a module's file; nothing for a namespace package."""
    if origin.file is None or origin.file.is_file():
        return b"" if origin.file is None else origin.file.read_bytes()
    return bytes(origin.loader.get_data(str(origin.file)))  # a member of an archive


def _one(name: str, search: Sequence[str] | None) -> Origin | None:
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None) or (_spec(name, search) if loaded is None else None)
    if spec is None:
        file = getattr(loaded, "__file__", None)  # a script, or made by hand
        return None if file is None else Origin(name, own=True, file=Path(file))
    places = getattr(loaded, "__path__", spec.submodule_search_locations)
    places = None if places is None else tuple(map(str, places))
    if spec.origin is None or (not spec.has_location and spec.origin in ("namespace", "built-in", "frozen")):
        # A namespace package holds no code; what lies below is asked for itself.
        return Origin(name, own=places is not None and spec.origin in (None, "namespace"), search=places)
    file = Path(spec.origin)
    if name.partition(".")[0] not in _OURS:
        if not set(file.parts) & set(_SITES) and any(map(file.is_relative_to, _STANDARD)):
            return Origin(name, own=False, file=file)
        library = _library(name, file, is_package=places is not None)
        if library is not None:
            return Origin(name, own=False, file=file, library=library)
    return Origin(name, own=True, file=file, search=places, loader=spec.loader)


def _spec(name: str, search: Sequence[str] | None) -> ModuleSpec | None:
    """Ask every finder, as an import would; unlike `importlib.util.find_spec` this imports no parent package."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            spec = None if find is None else find(name, search)
        except KeyError:
            # Python asks the loaded parent where a namespace package inside another one lies; this parent is not.
            return _namespace(name, search or ())
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None


def _namespace(name: str, search: Sequence[str]) -> ModuleSpec:
    spec = ModuleSpec(name, None, is_package=True)
    folders = [os.path.join(place, name.rpartition(".")[2]) for place in search]
    spec.submodule_search_locations = [folder for folder in folders if os.path.isdir(folder)]
    return spec


@lru_cache(maxsize=8192)
def _library(name: str, file: Path, *, is_package: bool) -> Library | None:
    depth = name.count(".") + is_package
    site = file.parents[depth] if depth < len(file.parents) else file.parent
    path, top = file.relative_to(site).as_posix(), _plain(name.partition(".")[0])
    # The likely ones first.
    for metadata in sorted(_metadata_folders(site), key=lambda folder: _plain(folder.stem.partition("-")[0]) != top):
        if _holds(metadata, path, top):
            distribution, _, version = metadata.stem.partition("-")
            changed = _changed(metadata)
            changed = ((path, fingerprint_file(file)),) if changed is None else changed
            return distribution, version.partition("-py")[0], changed
    return None


@cache
def _metadata_folders(site: Path) -> tuple[Path, ...]:
    return tuple(sorted((*site.glob("*.dist-info"), *site.glob("*.egg-info"))))


def _holds(metadata: Path, path: str, top: str) -> bool:
    """Return whether a distribution lists a file, or has no such list, as on Linux, and names the module."""
    record = _record(metadata)
    if record or metadata.parent.name not in _SITES:  # beside its source an editable one lists nothing as installed
        return f"\n{path},".encode() in record
    names = metadata / "top_level.txt"
    tops = names.read_text(encoding="utf-8", errors="replace").split() if names.is_file() else []
    return top in map(_plain, (*tops, metadata.stem.partition("-")[0]))


@cache
def _record(metadata: Path) -> bytes:
    with suppress(OSError):
        return b"\n" + (metadata / "RECORD").read_bytes().replace(b"\r\n", b"\n")
    return b""


@cache
def _changed(metadata: Path) -> tuple[tuple[str, str], ...] | None:
    """Return path and SHA-256 of what has changed since a distribution was installed; None without checksums.

    A file of the recorded size that is no newer than its RECORD is taken as it is: reading all libraries would take
    longer than the run.
    """
    rows = csv.reader(_record(metadata).decode("utf-8", "replace").splitlines())
    listed = [row for row in rows if len(row) == 3 and row[1] and row[0].endswith(_CODE)]
    if not listed:
        return None
    installed = (metadata / "RECORD").stat().st_mtime_ns + _SLACK_NS
    changed = []
    for path, checksum, size in listed:
        file = os.path.join(metadata.parent, path)
        try:
            found = os.stat(file)
        except OSError:
            changed.append((path, "missing"))
            continue
        if found.st_mtime_ns > installed or str(found.st_size) != size:
            digest = fingerprint_file(Path(file))
            if checksum != f"sha256={base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b'=').decode()}":
                changed.append((path, digest))
    return tuple(sorted(changed))


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")

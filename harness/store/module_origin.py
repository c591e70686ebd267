"""Where a module comes from: the standard library, an installed distribution, or somebody's own code.

Installed is what a package manager has written down in a ``RECORD``; all else is own code, however it is found, also a
file that was put among the installed ones by hand. Nothing is imported to find out.
"""

from __future__ import annotations

import base64
import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from harness.store.fingerprint import fingerprint_file

_OURS = ("harness", "baselines")
_CODE = (".py", ".so", ".pyd", ".dylib", ".dll")
_SITES = ("site-packages", "dist-packages")
_SLACK_NS = 2_000_000_000  # between a file and the RECORD that is written after it, on coarse clocks


@dataclass(frozen=True)
class Distribution:
    """An installed distribution.

    `changed` holds path and SHA-256 of every file of code that is no longer what was installed; of a distribution
    without a list of files, of the modules that are imported.
    """

    name: str
    version: str
    changed: tuple[tuple[str, str], ...] = ()


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
    library: Distribution | None = None
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
    return _origin(name, spec.origin, spec.has_location, places, spec.loader)


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
def _origin(
    name: str, origin: str | None, has_location: bool, search: tuple[str, ...] | None, loader: object
) -> Origin:
    if origin is None or (not has_location and origin in ("namespace", "built-in", "frozen")):
        # A namespace package holds no code; what lies below is asked for itself.
        is_namespace = search is not None and origin in (None, "namespace")
        return Origin(name, own=is_namespace, search=search)
    file = Path(origin)
    if name.partition(".")[0] not in _OURS:
        if _is_standard(file):
            return Origin(name, own=False, file=file)
        library = _library(name, file, is_package=search is not None)
        if library is not None:
            return Origin(name, own=False, file=file, library=library)
    return Origin(name, own=True, file=file, search=search, loader=loader)


def _is_standard(file: Path) -> bool:
    return not set(file.parts) & set(_SITES) and any(file.is_relative_to(folder) for folder in _standard_folders())


@cache
def _standard_folders() -> tuple[Path, ...]:
    folders = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    return tuple(sorted({*folders, *(folder.parent / archive for folder in folders)}))


def _library(name: str, file: Path, *, is_package: bool) -> Distribution | None:
    depth = name.count(".") + is_package
    site = file.parents[depth] if depth < len(file.parents) else file.parent
    path = file.relative_to(site).as_posix()
    top = name.partition(".")[0]
    # The likely ones first.
    for metadata, _ in sorted(_metadata_folders(site), key=lambda folder: folder[1] != _plain(top)):
        if f"\n{path},".encode() in _record(metadata):
            found, is_listed = _checked(metadata)
            if is_listed:
                return found
            return replace(found, changed=((path, fingerprint_file(metadata.parent / path)),))
    # The metadata that an editable installation leaves beside its source lists nothing as installed.
    return _unlisted(site, path, top) if site.name in _SITES else None


@cache
def _metadata_folders(site: Path) -> tuple[tuple[Path, str], ...]:
    folders = sorted(site.glob("*.dist-info")) if site.is_dir() else []
    return tuple((folder, _plain(folder.name.partition("-")[0])) for folder in folders)


@cache
def _record(metadata: Path) -> bytes:
    try:
        return b"\n" + (metadata / "RECORD").read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return b""


@cache
def _checked(metadata: Path) -> tuple[Distribution, bool]:
    """Return a distribution with what has changed since it was installed, and whether the RECORD gives checksums.

    A file of the recorded size that is no newer than its RECORD is taken as it is: reading all libraries would take
    longer than the run.
    """
    name, _, version = metadata.name.removesuffix(".dist-info").partition("-")
    installed = (metadata / "RECORD").stat().st_mtime_ns + _SLACK_NS
    changed, is_listed = [], False
    for line in _record(metadata).decode("utf-8", "replace").splitlines():
        path, _, rest = line.rpartition(",")
        path, _, checksum = path.rpartition(",")
        path = path.strip('"')
        if not checksum or not path.endswith(_CODE):
            continue
        is_listed = True
        file = os.path.join(metadata.parent, path)
        try:
            found = os.stat(file)
        except OSError:
            changed.append((path, "missing"))
            continue
        if found.st_mtime_ns > installed or str(found.st_size) != rest:
            digest = fingerprint_file(Path(file))
            if checksum != f"sha256={base64.urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b'=').decode()}":
                changed.append((path, digest))
    return Distribution(name, version, tuple(sorted(changed))), is_listed


def _unlisted(site: Path, path: str, top: str) -> Distribution | None:
    """Return the distribution of an installation that keeps no list of files, such as a Linux distribution's."""
    for metadata in sorted((*site.glob("*.egg-info"), *site.glob("*.dist-info"))):
        if (metadata / "RECORD").is_file():
            continue
        name, _, version = metadata.stem.partition("-")
        names = metadata / "top_level.txt"
        tops = names.read_text(encoding="utf-8", errors="replace").split() if names.is_file() else []
        if top in tops or _plain(name) == _plain(top):
            return Distribution(name, version.partition("-py")[0], ((path, fingerprint_file(site / path)),))
    return None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")

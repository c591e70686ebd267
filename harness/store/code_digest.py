"""The digest of the code that computes a result: every own module that it imports, and the libraries' versions.

What an import statement or ``importlib.import_module("literal")`` names is followed, of a user's module its strings
too: data files beside it, and code that it finds as it runs. What no text of it names (a plug-in's entry point, a file
whose name is a setting) cannot be seen and does not count. Installed is what a package manager has written down in a
``RECORD``; all else is own code, also a file that was put among the installed ones by hand. Nothing is imported to find
out.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import pkgutil
import platform
import re
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.store.code_text import (
    STAR,
    Strings,
    imports_and_digest,
    imports_of,
    keep_notes,
    named_places,
    packages_of,
    strings_of,
    text_digest,
)
from harness.store.fingerprint import fingerprint_file
from harness.store.records import OURS, exported_from

_BEGAN_NS = time.time_ns()
_EXPORTED = re.compile(rb"\b(?:harness|baselines)\.\w+")
_LARGE = 64 * 2**20  # bytes; a larger file that a string names counts by size and time
_CODE = (".py", ".so", ".pyd", ".dylib", ".dll")
_STDLIB = Path(sysconfig.get_path("stdlib"))
_ARCHIVE = _STDLIB.with_name(f"python{sys.version_info[0]}{sys.version_info[1]}.zip")
_STANDARD = (_STDLIB, Path(sysconfig.get_path("platstdlib")), _ARCHIVE)
_SITES = ("site-packages", "dist-packages")
_SLACK_NS = 2_000_000_000  # between a file and the RECORD that is written after it, on coarse clocks
Stamp = tuple[int, int, int]
# Name and version of an installed distribution, then path and SHA-256 of every file of code that is no longer what was
# installed; of a distribution without a list of files, of the modules that are imported.
Library = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Origin:
    """Where a module comes from."""

    name: str
    own: bool  # whether it is own code
    # its source, extension or archive member; None for a namespace package and for what is built into Python
    file: Path | None = None
    library: Library | None = None  # the distribution that installed it; None for own code and the standard library
    search: tuple[str, ...] | None = None  # where its submodules lie; None for a module that is no package
    loader: Any = field(default=None, repr=False, compare=False)  # what reads it, for files inside archives

    @property
    def ours(self) -> bool:
        """Whether it is this project's own."""
        return self.name.partition(".")[0] in OURS


@dataclass(eq=False)
class _Source:
    """An own module as this process knows it."""

    origin: Origin
    stamp: Stamp | None  # size, time and inode of its file when it was read; None for a namespace package
    digest: str  # of what Python runs, see `text_digest`
    # when_run, when_called: modules that it imports when it is imported itself, and in all
    when_run: tuple[str, ...]
    when_called: tuple[str, ...]
    # name → place and SHA-256 of the files that its strings name, as they were when it was read
    files: dict[str, tuple[Path, str]]
    folders: tuple[str, ...]  # where a module may lie that it imports and that nobody finds before it runs
    # the specification under which the module was found loaded from these bytes; None before that
    loaded: ModuleSpec | None = None


# A module that is loaded keeps the bytes that it was loaded from, whatever happens to its file afterwards.
_KNOWN: dict[str, _Source] = {}
# A loaded module's specification, where its submodules lie, and what they say.
_LOADED: dict[str, tuple[ModuleSpec, tuple[str, ...] | None, Origin]] = {}
_REACHED: dict[tuple[tuple[str, ...], ...], tuple[dict[str, _Source], set[Library]]] = {}


def code_digest(*modules: str) -> str:
    """Return the hex SHA-256 of everything that `modules` import, directly or not.

    Own code (this project's, and whatever no package manager has installed) counts as Python parses it, so that an edit
    of a comment, a docstring or the layout changes nothing; an installed library by its name, version, and the files
    that were changed since; Python and the machine's architecture by theirs. So a cached result can never outlive the
    code that made it.

    Raises:
        ConfigError: When the code of one of `modules` cannot be found, or is no longer that which was loaded.
    """
    own, libraries = _closure(modules)
    digest = hashlib.sha256(f"{sys.version_info[:3]} {platform.machine()}\0".encode())
    for name, source in sorted(own.items()):
        digest.update(f"{name}\0{source.digest}\0".encode())
        for file, (_, content) in sorted(source.files.items()):
            digest.update(f"{name}: {file}\0{content}\0".encode())
    for name, version, changed in sorted(libraries):
        digest.update(f"{name}=={version} {changed}\0".encode())
    return digest.hexdigest()


def user_code(*modules: str) -> dict[str, tuple[Path, str]]:
    """Return name → file and SHA-256 of the own modules that are not this project's and of files that they name."""
    own, _ = _closure(modules)
    found: dict[str, tuple[Path, str]] = {}
    for name, source in sorted(own.items()):
        if source.origin.file is not None and not source.origin.ours:
            found[name] = source.origin.file, source.digest
            found |= {f"{name}: {file}": read for file, read in sorted(source.files.items())}
    return found


def knows_code_of_users() -> bool:
    """Whether anything that was counted is neither this project's nor a library's."""
    return any(not source.origin.ours for source in _KNOWN.values())


def note_code(module: str) -> None:
    """Remember the bytes of a module and of what it imports, before it is imported."""
    if module not in sys.modules:
        origin = origin_of(module)
        if origin is not None and origin.own and not origin.ours:
            _closure((module,))


def check_code_unchanged() -> None:
    """Check that no own module was changed between being counted and being loaded.

    Raises:
        ConfigError: Names the file: what ran is not what the keys of the results say.
    """
    for source in tuple(_KNOWN.values()):
        if source.loaded is None and source.stamp is not None:
            source.loaded = _checked_spec(source)
        for file, read in source.files.values():
            if _file_digest(file) != read:
                raise _changed(file.name, file, "while the run was going on")


def _closure(modules: tuple[str, ...]) -> tuple[dict[str, _Source], set[Library]]:
    """Return the own modules and the libraries that `modules` reach; followed again when one of the files is new."""
    question = (modules, tuple(sys.path))
    known = _REACHED.get(question)
    if known is None or not all(_is_current(source) for source in known[0].values()):
        known = _REACHED[question] = _followed(modules)
        keep_notes()
    return known


def _followed(modules: tuple[str, ...]) -> tuple[dict[str, _Source], set[Library]]:
    own: dict[str, _Source] = {}
    libraries: set[Library] = set()
    waiting = [(_root(name), True) for name in modules]
    done: set[tuple[str, bool]] = set()
    folders: dict[str, None] = {}
    unknown: list[tuple[str, bool]] = []  # optional libraries that are not installed, and names inside modules
    while waiting:
        name, is_called = each = waiting.pop()
        if not done.isdisjoint({each, (name, True)}):
            pass  # followed already
        elif name.endswith(STAR):
            waiting += [(found, True) for found in _submodules(name.removesuffix(STAR))]
        elif (exported := exported_from(name)) is not None:
            waiting.append((exported, is_called))  # `from harness import X` imports what holds X only when it runs
        elif (origin := origin_of(name) or origin_of(name, tuple(folders))) is None:
            unknown.append(each)
        else:
            libraries |= set() if origin.library is None else {origin.library}
            if origin.own:
                own[name] = source = _source(origin)
                folders |= dict.fromkeys(source.folders)
                parent = name.rpartition(".")[0]
                # Importing a module runs its packages first, but calls nothing in them.
                waiting += [(parent, False)] if parent else []
                waiting += [(found, True) for found in (source.when_called if is_called else source.when_run)]
        done.add(each)
        if not waiting:  # what is not on the path may lie where a module of the user's will have put it there
            waiting = [each for each in unknown if folders and origin_of(each[0], tuple(folders))]
            unknown = [each for each in unknown if each not in waiting]
            done -= set(waiting)
    return own, libraries


def _root(name: str) -> str:
    """Return the module of a configured class, which may stand inside another class or a function."""
    for module in reversed(packages_of(name)):
        origin = origin_of(module)
        if origin is not None and (origin.file is not None or not origin.own):
            return module
    what = "The code of a configured object cannot be found, so its results cannot be told from those of other code."
    hint = "write it into a module, such as my_model.py, and import it from there"
    raise ConfigError(what, where="_target_", got=name, expected="a class in a file", hint=hint)


def _source(origin: Origin) -> _Source:
    known = _KNOWN.get(origin.name)
    if known is not None and known.origin.file == origin.file and _is_current(known):
        return known
    spec, stamp = _spec_of(origin.name), _stamp(origin)
    if known is not None and known.loaded is None and known.stamp is not None:
        _checked_spec(known)
    if known is None and spec is not None and not _is_as_loaded(spec, stamp):
        raise _changed(origin.name, origin.file, "after it was imported")
    content, file = read_source(origin), origin.file
    # A module that is run is called __main__.
    named = (origin.name if spec is None else spec.name, origin.search is not None)
    is_users = not origin.ours and file is not None and file.suffix == ".py" and file.is_file()
    files, by_text, folders = _by_text(file, *named, content) if file is not None and is_users else ({}, (), ())
    imported, digest = imports_and_digest(*named, content)
    when_run, when_called = ((*found, *by_text) for found in imported)
    made = _Source(origin, stamp, digest, when_run, when_called, files, folders, spec)
    _KNOWN[origin.name] = made
    return made


def _by_text(
    file: Path, name: str, is_package: bool, content: bytes
) -> tuple[dict[str, tuple[Path, str]], tuple[str, ...], tuple[str, ...]]:
    """Return the files, the modules and the folders that the strings of a user's module name, see `_Source`."""
    strings = strings_of(name, is_package, content)
    folders, places = named_places(file, strings)
    # What cannot be read here tells so when the module reads it.
    read = [(place, digest) for place in places if (digest := _file_digest(place)) is not None]
    files = {Path(os.path.relpath(place, folders[0])).as_posix(): (place, digest) for place, digest in read}
    python = [place.read_bytes() for place, _ in read if place.suffix == ".py"]
    modules = [found for source in python for found in imports_of(name, is_package, source)[1]]
    modules += [found.decode() for found in _EXPORTED.findall(content)]  # `import harness`, then `harness.X`
    return files, (*modules, *strings.modules), () if strings == Strings() else tuple(map(str, folders))


def _file_digest(file: Path) -> str | None:
    """Return the SHA-256 of a file that a string names, of a large one that of its size and time; None without one."""
    with suppress(OSError):
        found = os.stat(file)
        return _stamped_digest(file, (found.st_size, found.st_mtime_ns, found.st_ino))
    return None


@cache  # of however many files: they are looked at again whenever a result is kept
def _stamped_digest(file: Path, stamp: Stamp) -> str:
    return hashlib.sha256(repr(stamp[:2]).encode()).hexdigest() if stamp[0] > _LARGE else fingerprint_file(file)


def _checked_spec(source: _Source) -> ModuleSpec | None:
    spec = _spec_of(source.origin.name)
    is_same = spec is None or _stamp(source.origin) == source.stamp
    if not is_same and text_digest(read_source(source.origin)) != source.digest:
        del _KNOWN[source.origin.name]
        raise _changed(source.origin.name, source.origin.file, "while the run was going on")
    return spec


def _is_current(source: _Source) -> bool:
    name = source.origin.name
    if _KNOWN.get(name) is not source:
        return False
    with suppress(OSError):
        is_loaded = source.loaded is not None and source.loaded is _spec_of(name)
        return is_loaded or source.stamp == _stamp(source.origin)
    return False


def _spec_of(name: str) -> ModuleSpec | None:
    # Reloading a module gives it another one.
    return getattr(sys.modules.get(name), "__spec__", None)


def _stamp(origin: Origin) -> Stamp | None:
    if origin.file is None:
        return None
    place = origin.file
    while not place.exists() and place != place.parent:
        place = place.parent  # a member of an archive changes with the archive
    found = os.stat(place)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _is_as_loaded(spec: ModuleSpec, stamp: Stamp | None) -> bool:
    """Return False when the compiled file that Python left while it loaded a module tells of another source.

    Only where the source is newer than this process: an older one cannot have changed since it was loaded.
    """
    if stamp is None or stamp[1] < _BEGAN_NS or type(spec.loader) is not SourceFileLoader or spec.cached is None:
        return True
    try:
        header = Path(spec.cached).read_bytes()[:16]
    except OSError:
        return True  # Python was told to leave none
    flags, *source = (int.from_bytes(header[at : at + 4], "little") for at in (4, 8, 12))
    return flags != 0 or source == [stamp[1] // 1_000_000_000 & 0xFFFFFFFF, stamp[0] & 0xFFFFFFFF]


def _changed(name: str, file: Path | None, when: str) -> ConfigError:
    what = f"A file of the code was changed {when}: what runs is not what it says."
    got = f"another content than that which was counted for {name}"
    expected = "files that stay as they are until the run has ended"
    hint = "run again; in a notebook restart the kernel, or importlib.reload the module"
    return ConfigError(what, where=str(file), got=got, expected=expected, hint=hint)


def _submodules(package: str) -> list[str]:
    """Return every module of an own package: which of them a star imports, its ``__all__`` says only when it is run."""
    origin = origin_of(package)
    if origin is None or not origin.own or origin.ours:
        return []
    return [f"{package}.{found.name}" for found in pkgutil.iter_modules(origin.search or ())]


def origin_of(name: str, folders: Sequence[str] | None = None) -> Origin | None:
    """Return where a module comes from, or None when there is none of this name, on the path or in `folders`.

    Below the first package that is not own code everything is like that package.
    """
    found: Origin | None = None
    for at in packages_of(name) if all(name.split(".")) else ():
        if found is not None and not (found.own or (found.file is None and found.search)):
            return found
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
    if loaded is None:
        return _specified(name, spec, places)
    known = _LOADED.get(name)
    if known is None or known[0] is not spec or known[1] != places:
        known = _LOADED[name] = spec, places, _specified(name, spec, places)
    return known[2]


def _specified(name: str, spec: ModuleSpec, places: tuple[str, ...] | None) -> Origin:
    if spec.origin is None or (not spec.has_location and spec.origin in ("namespace", "built-in", "frozen")):
        # A namespace package holds no code; what lies below is asked for itself.
        return Origin(name, own=places is not None and spec.origin in (None, "namespace"), search=places)
    file = Path(spec.origin)
    if name.partition(".")[0] not in OURS:
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
            spec = ModuleSpec(name, None, is_package=True)
            folders = [os.path.join(place, name.rpartition(".")[2]) for place in search or ()]
            spec.submodule_search_locations = [folder for folder in folders if os.path.isdir(folder)]
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None


@lru_cache(maxsize=8192)
def _library(name: str, file: Path, *, is_package: bool) -> Library | None:
    depth = name.count(".") + is_package
    site = file.parents[depth] if depth < len(file.parents) else file.parent
    path, top = file.relative_to(site).as_posix(), _plain(name.partition(".")[0])
    # The likely ones first.
    for metadata in sorted(_metadata_folders(site), key=lambda folder: _plain(folder.stem.partition("-")[0]) != top):
        if _holds(metadata, path, top):
            distribution, _, version = metadata.stem.partition("-")
            changed = _changed_files(metadata)
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
def _changed_files(metadata: Path) -> tuple[tuple[str, str], ...] | None:
    """Return path and SHA-256 of what has changed since a distribution was installed; None without checksums.

    A file of the recorded size that is no newer than its RECORD is taken as it is: reading all libraries would take
    longer than the run.
    """
    rows = csv.reader(_record(metadata).decode("utf-8", "replace").splitlines())
    listed = [row for row in rows if len(row) == 3 and row[1] and row[0].endswith(_CODE)]
    if not listed:
        return None
    site, installed = str(metadata.parent), (metadata / "RECORD").stat().st_mtime_ns + _SLACK_NS
    changed = []
    for path, checksum, size in listed:
        file = os.path.join(site, path)
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

"""A sandbox for a fresh process, where the system has one: Landlock for files, a network namespace for the network.

What audit events cannot hear, such as a file that C++ code opens, the kernel refuses here. This file is also the
program of the fresh process: it enters the sandbox before any library that could have opened a file is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

Grants = dict[str, list[str]]

_UNSHARE = ("unshare", "--user", "--map-current-user", "--net")
# What libraries ask about the machine; a process's own folder of /proc is the only one that Landlock lets it read in.
_MACHINE = ("/proc", "/sys", "/dev")
# Devices, and memory that processes share: audit events hear what of it is not one's own.
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts", "/dev/shm")
_ACCELERATORS = ("nvidia*", "dri", "kfd")


def grants(installed: Iterable[Path], code: tuple[str, ...], own: Sequence[Path], declared: Sequence[Path]) -> Grants:
    """Return what a fresh process may do: ``read`` folders and files, ``list`` folders, ``write`` folders and files.

    Args:
        installed: Folders of libraries and the system: everything in them may be read.
        code: Suffixes of files that count as code; beside them nothing of a folder of one's own code may be read.
        own: Folders that are the process's own.
        declared: What may be read beside that.
    """
    places = [os.path.realpath(place) for place in installed]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    read = [*places, *libraries, *_MACHINE, *map(str, declared)]
    write = [*map(str, own), *_DEVICES, *_compiled(), *(str(at) for name in _ACCELERATORS for at in _dev(name))]
    listed = []
    for folder in _code_folders(places):
        if os.path.isfile(folder):
            read.append(folder)
            continue
        listed.append(folder)
        for path, names in _modules(folder):
            if os.path.basename(path) == "__pycache__":
                write.append(path)  # compiled code is kept there
            read += (os.path.join(path, name) for name in names if name.endswith(code))
    # An installed package's own compiled code lies beside it.
    write += map(str, Path(__file__).resolve().parents[1].rglob("__pycache__"))
    kinds = {"read": read, "list": listed, "write": write}
    return {kind: sorted({path for path in paths if path and os.path.exists(path)}) for kind, paths in kinds.items()}


def _dev(name: str) -> Iterable[Path]:
    return Path("/dev").glob(name)


def _compiled() -> Iterator[str]:
    """Yield the folders in which Numba keeps compiled code of an installation that it cannot write to."""
    yield os.environ.get("NUMBA_CACHE_DIR", "")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    yield os.path.join(caches, "numba")


def _code_folders(places: Sequence[str]) -> list[str]:
    """Return where this process finds modules that are not installed: its paths, and packages that it has loaded."""
    tops = [module for name, module in list(sys.modules.items()) if "." not in name]
    loaded = [path for module in tops for path in getattr(module, "__path__", ()) if isinstance(path, str)]
    found = dict.fromkeys(os.path.realpath(path) for path in (*sys.path, *loaded))
    return [path for path in found if not any(path == place or path.startswith(place + os.sep) for place in places)]


def _modules(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield folders in which modules may lie, and the names of their files: packages are identifiers."""
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name.isidentifier()]
        yield path, names


@cache
def without_network() -> tuple[str, ...]:
    """Return the words before a command that take the network from it; none where the system does not allow that."""
    try:
        asked = subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False)
    except OSError:
        return ()
    return _UNSHARE if asked.returncode == 0 else ()


def unavailable() -> str:
    """Return why the kernel holds nobody to files: empty when it can."""
    try:
        from landlock import LandlockError, landlock_abi_version
    except ImportError:
        return "the package landlock is not installed"
    try:
        landlock_abi_version()
    except (LandlockError, OSError) as error:
        return str(error).splitlines()[0]
    return ""


def enter(given: Grants) -> str:
    """Have the kernel refuse every file that is not granted, to this process and to all that it starts.

    Returns why it does not: empty when it does.
    """
    why = unavailable()
    if why:
        return why
    from landlock import FSAccess, LandlockError, Ruleset

    try:
        rules = Ruleset()
        file = FSAccess.EXECUTE | FSAccess.READ_FILE
        for path in given["read"]:
            rules.allow(path, rules=file | FSAccess.READ_DIR if os.path.isdir(path) else file)
        rules.allow(*given["list"], rules=FSAccess.READ_DIR)
        for path in given["write"]:
            rules.allow(path, rules=None if os.path.isdir(path) else FSAccess.all_file())
        rules.apply()
    except (LandlockError, OSError) as error:
        return str(error).splitlines()[0]
    return ""


def forget() -> None:
    """Set what every process inherits, and a program before this one may have chosen: limits, and the file mask."""
    os.umask(0o022)
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for name in dir(resource):
        if name.startswith("RLIMIT_"):
            soft, hard = resource.getrlimit(getattr(resource, name))
            # A stack is laid out by its limit; everything else is the more, the better.
            usual = 8 << 20 if name == "RLIMIT_STACK" else hard
            if soft != usual and (hard == resource.RLIM_INFINITY or 0 <= usual <= hard):
                resource.setrlimit(getattr(resource, name), (usual, hard))


if __name__ == "__main__":
    forget()
    home = Path(sys.argv[1])
    setup = json.loads((home / "setup.json").read_text(encoding="utf-8"))
    why = enter(setup["grants"]) if setup["grants"] else "not asked for"

    from harness.audit.world import answer_worlds

    answer_worlds(home, setup, why)

"""What a process opens: the interpreter's audit events, held against what it was given."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

_NETWORK = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"),
    *("socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request", "http.client.connect", "ftplib.connect"),
)
# Event → which of its arguments names the program; forked processes of one's own are heard like their parent.
_PROGRAMS = {"subprocess.Popen": 0, "os.system": 0, "os.exec": 0, "os.posix_spawn": 0, "os.spawn": 1, "pty.spawn": 0}
CODE = (".py", ".pyc", ".pyi", ".pyd", ".so", ".dylib", ".dll", ".nbi", ".nbc", ".pth")
# What libraries ask about the machine, and what this harness asks about its own version.
_ABOUT_THE_MACHINE = ("lscpu", "ldconfig", "uname", "nproc", "sysctl", "gcc", "cc", "ld", "file", "nvidia-smi", "git")
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/sys", "/System", "/Library")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/stdin", "/dev/stdout")
_ABOUT_CODE = str(Path(__file__).resolve().parents[1] / "store" / "code_")
_CLOCK_TICK = 0.02  # seconds by which a file system's clock may lag


# Before anything is heard: looking it up opens files.
_PREFIXES = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
INSTALLED = tuple(dict.fromkeys(Path(os.path.realpath(place)) for place in (*_PREFIXES, *_SYSTEM)))


@dataclass
class Watch:
    """Hears what this process and those that it forks open, and keeps what nobody declared in a file.

    Attributes:
        declared: Folders and files that may be read and written.
        log: Where it is written, one JSON text per line.
    """

    declared: list[Path]
    log: Path
    began: float = field(default_factory=lambda: time.time() - _CLOCK_TICK)
    _file: int = -1

    def begin(self) -> None:
        """Listen from now on; Python cannot remove a hook."""
        self._file = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        sys.addaudithook(self._hear)

    def heard(self) -> tuple[str, ...]:
        """Return what was opened so far, each once, in the order of the first use."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return tuple(dict.fromkeys(json.loads(line) for line in lines))

    def tell(self, what: str) -> None:
        """Count something as opened."""
        os.write(self._file, (json.dumps(what) + "\n").encode())

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        what = None
        if event == "open":
            what = self._opened(arguments[0], arguments[2])
        elif event == "os.getxattr":
            what = self._opened(arguments[0], os.O_RDONLY)
        elif event == "sqlite3.connect":
            what = None if arguments[0] == ":memory:" else self._opened(arguments[0], os.O_RDWR)
        elif event == "mmap.__new__" and arguments[0] != -1:
            what = self._opened(_path_of(arguments[0]), os.O_RDWR)
        elif event in _NETWORK:
            what = None if event in _NETWORK[:4] and _is_local(arguments) else "the network"
        elif event in _PROGRAMS:
            what = _program(arguments, _PROGRAMS[event])
        elif event == "ctypes.dlopen":
            what = self._library(arguments[0])
        if what is not None:
            self.tell(what)

    def _opened(self, given: object, flags: object) -> str | None:
        """Return what is read where that was not declared; what this process itself has written is no news."""
        if not isinstance(given, str | bytes | os.PathLike):
            return None  # a descriptor, which was opened before
        path = Path(os.path.realpath(os.fsdecode(given)))
        mode = flags if isinstance(flags, int) else 0
        only_writes = bool(mode & os.O_TRUNC) or (mode & os.O_ACCMODE) == os.O_WRONLY
        if only_writes or path.suffix in CODE or self._is_declared(path) or path.is_dir() or not path.exists():
            return None
        return None if self._is_own(path) or _is_about_code() else f"the file {path}"

    def _is_declared(self, path: Path) -> bool:
        text = str(path)
        if text.startswith("/dev/"):
            return text.startswith(_DEVICES) or text.startswith("/dev/pts")
        if text.startswith("/proc/"):
            first = path.parts[2] if len(path.parts) > 2 else ""
            return not first.isdigit() or int(first) == os.getpid()
        return any(path.is_relative_to(folder) for folder in (*self.declared, *INSTALLED))

    def _is_own(self, path: Path) -> bool:
        try:
            return path.stat().st_ctime >= self.began
        except OSError:
            return False

    def _library(self, name: object) -> str | None:
        """Return what a call of `ctypes` loads where that is no library's own affair."""
        if isinstance(name, str | bytes) and os.sep in (text := os.fsdecode(name)):
            path = Path(os.path.realpath(text))
            if path.suffix not in CODE and ".so" not in path.name and not self._is_declared(path):
                return f"the file {path}"
        frame: FrameType | None = sys._getframe()
        while frame is not None and _is_inner(frame.f_code.co_filename):
            frame = frame.f_back
        caller = Path(frame.f_code.co_filename) if frame is not None else Path()
        return None if _is_library(caller) else f"the system through ctypes, in {caller.name}"


def _is_about_code() -> bool:
    """Whether the harness itself is looking what code there is: it reads the files that code names."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith(_ABOUT_CODE):
        frame = frame.f_back
    return frame is not None


def _is_inner(file: str) -> bool:
    return file == __file__ or f"{os.sep}ctypes{os.sep}" in file


def _is_library(path: Path) -> bool:
    own = Path(__file__).resolve().parents[1]
    return not path.is_absolute() or any(path.is_relative_to(folder) for folder in (own, *INSTALLED))


def _path_of(descriptor: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    except OSError:
        return None


def _is_local(arguments: Sequence[Any]) -> bool:
    """Whether a socket is one of this machine's own, such as those of a process pool."""
    return len(arguments) > 1 and isinstance(arguments[1], str | bytes)


def _program(arguments: Sequence[Any], at: int) -> str | None:
    given = arguments[at] if len(arguments) > at else ""
    if not isinstance(given, str | bytes | os.PathLike) and len(arguments) > 1 and arguments[1]:
        given = arguments[1][0]
    words = os.fsdecode(given).split() if isinstance(given, str | bytes | os.PathLike) else []
    name = Path(words[0]).name if words else "?"
    return None if name in _ABOUT_THE_MACHINE else f"the program {name}"

"""What code reaches for outside its arguments while it fits or predicts: files, the network, other programs."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Raised by the interpreter itself; libraries that open files in C++ alone go unnoticed.
_FILES = "open"
_OTHERS = {"socket.connect": "the network", "subprocess.Popen": "another program", "os.system": "another program"}
_CODE = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll", ".nbi", ".nbc")
_CLOCK_TICK = 0.02  # seconds by which a file system's clock may lag
_SYSTEM = ("/proc", "/sys", "/dev", "/etc")


@dataclass
class Outside:
    """Records what is opened while a `Watched` object works.

    Attributes
    ----------
    seen
        One line per file, host or program, in the order of the first use.
    """

    seen: dict[str, None] = field(default_factory=dict)
    _since: float = float("inf")
    _depth: int = 0
    _active: bool = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hear the interpreter's audit events inside; afterwards the hook stays, deaf, as Python cannot remove one."""
        self._active, self._since = True, time.time() - _CLOCK_TICK
        sys.addaudithook(self._hear)
        try:
            yield
        finally:
            self._active = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Attribute what is opened inside to the code under audit."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active or self._depth == 0:
            return
        if event == _FILES:
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike):
                self._opened(Path(os.fsdecode(path)).absolute(), flags)
        elif event in _OTHERS:
            self.seen.setdefault(_OTHERS[event])

    def _opened(self, path: Path, flags: object) -> None:
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_CREAT)
        if not writes and _is_data(path) and not self._is_own(path):
            self.seen.setdefault(f"the file {path.name}")

    def _is_own(self, path: Path) -> bool:
        """Whether a file came to be while the code was watched: what it has written itself is no news from outside."""
        try:
            return path.stat().st_ctime >= self._since
        except OSError:
            return False


def _is_data(path: Path) -> bool:
    installed = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    in_library = any(path.is_relative_to(folder) for folder in (*installed, *_SYSTEM))
    return not in_library and path.suffix not in _CODE and not path.is_dir()


class Watched:
    """Stands for a model, a preprocess or an adaptation, and attributes to it what its methods open.

    Parameters
    ----------
    inner
        The object, or what its `fit` returned.
    outside
        Told when it works.
    """

    def __init__(self, inner: Any, outside: Outside) -> None:
        self._inner = inner
        self._outside = outside

    def __getattr__(self, name: str) -> Any:
        """Return the inner attribute; a method is watched, and so is what `fit` returns."""
        found = getattr(self._inner, name)
        return self._watched(found, returns_fitted=name == "fit") if callable(found) else found

    def _watched(self, method: Callable[..., Any], *, returns_fitted: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self._outside.working():
                result = method(*arguments, **named)
            return Watched(result, self._outside) if returns_fitted else result

        return call

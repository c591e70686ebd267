"""The file that makes a folder a project, and what it adds to every command that is run there."""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from harness.errors import ConfigError

MARKER = "bench.toml"


@dataclass(frozen=True)
class Project:
    """What a folder with a `bench.toml` adds to every command that is run in it.

    Attributes:
        conf: Folders with configuration groups, as if each were given with ``--config-dir``.
        modules: Folders whose Python modules a ``_target_`` may name, as if each stood in ``PYTHONPATH``.
    """

    conf: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{MARKER}: conf {' '.join(self.conf) or '–'}, modules {' '.join(self.modules) or '–'}"


def project_here() -> Project | None:
    """Return the project of the working directory, never of one above it; None without a `bench.toml`.

    Raises:
        ConfigError: When the file is no project's, or somebody else may have put it there.
    """
    path = Path(MARKER)
    try:
        text, found, folder = path.read_text(encoding="utf-8"), path.stat(), Path().stat()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("The file cannot be read.", where=MARKER, got=str(error), expected="TOML in UTF-8") from error
    if folder.st_mode & stat.S_IWOTH and found.st_uid != os.geteuid():
        what, got = "Everybody may write to this folder, and the project is somebody else's.", str(path.absolute())
        raise ConfigError(what, where=MARKER, got=got, expected="a folder of yours", hint="its classes would be run")
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, expected = "The file is no TOML.", 'lines such as conf = ["my_conf"]'
        raise ConfigError(what, where=MARKER, got=str(error), expected=expected) from error
    known = [field.name for field in fields(Project)]
    for key, value in given.items():
        if key not in known:
            what, expected = f"`{key}` is no key of a project.", " and ".join(known)
            raise ConfigError(what, where=f"{MARKER}: {key}", got=str(value), expected=expected)
        if not isinstance(value, list) or not all(isinstance(name, str) and Path(name).is_dir() for name in value):
            what, expected = "A project names its folders.", 'a list of folders that are there, such as ["my_conf"]'
            raise ConfigError(what, where=f"{MARKER}: {key}", got=str(value), expected=expected)
    return Project(**{key: tuple(value) for key, value in given.items()})


@contextmanager
def importable(folders: tuple[str, ...]) -> Iterator[None]:
    """Let this process and its workers import the modules of some folders, before others of the same name."""
    paths = [os.path.abspath(folder) for folder in folders]
    before, given = list(sys.path), os.environ.get("PYTHONPATH")
    if paths:
        sys.path[:0] = [path for path in paths if path not in before]
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([given] if given else [])])
    try:
        yield
    finally:
        sys.path[:] = before
        if paths and given is None:
            del os.environ["PYTHONPATH"]
        elif paths and given is not None:
            os.environ["PYTHONPATH"] = given

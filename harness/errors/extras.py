"""What is installed of the program and its extras: what needs one that is missing, and what installs it here."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from harness.errors import ConfigError

PROGRAM = "driftbench"
_EXTRA = r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]"
_REQUIREMENT = re.compile(rf"^(?P<name>[\w.\-]+)(?P<limits>[^;]*?)\s*(?:;.*?{_EXTRA}.*)?$")


def code_version() -> str:
    """Return the version of the installed program; ``source`` where its code is only on the path, never installed."""
    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "source"


def requirements() -> Iterator[tuple[str, str, str | None]]:
    """Yield name, limits and extra, None for the core, of every library that the installed program names."""
    if code_version() == "source":
        return
    for text in metadata.requires(PROGRAM) or ():
        if (found := _REQUIREMENT.match(text)) is not None:
            yield found["name"], found["limits"].strip(), found["extra"]


def install_command(extra: str, prefix: str | None = None) -> str:
    """Return what installs an extra into an environment, by whatever has made it: pipx, `uv tool`, or pip."""
    parts = Path(prefix or sys.prefix).parts
    if "pipx" in parts:  # which takes no extra of what is installed already
        wanted = [f"{name}{limits}" for name, limits, of in requirements() if of == extra]
        return f"pipx inject {PROGRAM} {shlex.join(wanted)}"
    if "uv" in parts and "tools" in parts:
        return f"uv tool install '{PROGRAM}[{extra}]'"
    return f"pip install '{PROGRAM}[{extra}]'"


def missing_extra(what: str, extra: str, where: str | None = None) -> ConfigError:
    """Return the error of something that needs an extra which is not installed."""
    text = f"{what} needs the extra `{extra}`, which is not installed."
    return ConfigError(text, where=where, hint=install_command(extra))

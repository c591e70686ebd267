"""The few kinds of errors that the harness raises on purpose; anything else is a bug of ours.

Each message tells the user what went wrong, where, what was found, what would be accepted, and the next step.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from harness.errors.redaction import redacted

_LONGEST_LINE = 2_000
_LONGEST_NAME = 200  # a comparison takes the square of the length
_MOST_LINES = 60
# What a user can mend. A file that is not found is not among it: whoever reads one says so in words of its own.
_REFUSALS = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
)
# NumPy and Arrow raise an OSError without a number when the disk is full, and say this instead.
_FULL_DISK = ("requested and", f"[Errno {errno.ENOSPC}]", "No space left")


class HarnessError(Exception):
    """A mistake that the user can mend; shown without a traceback, and as text without passwords.

    Args:
        what: One sentence: what went wrong.
        where: The configuration key, file, or function that it concerns.
        got: The offending value.
        expected: What would be accepted.
        hint: The next step: a command, a key, a closest match; `next_step` of the kind when it is not given.

    Attributes:
        is_rule: Whether a rule of the benchmark refuses a configuration in which nothing is mistaken.
    """

    exit_code: ClassVar[int] = 2
    is_rule: ClassVar[bool] = False
    next_step: ClassVar[str | None] = None

    def __init__(
        self, what: str, *, where: object = None, got: object = None, expected: object = None, hint: str | None = None
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.got, self.expected, self.hint = what, where, got, expected, hint

    def __str__(self) -> str:
        """Return the message; values that are too long to be read are shortened, the attributes keep them whole."""
        parts = {"where": self.where, "got": self.got, "expected": self.expected, "hint": self.hint or self.next_step}
        lines = [f"  {name + ':':<10}{value}" for name, value in parts.items() if value is not None]
        return shortened(redacted("\n".join([self.what, *lines])))


class ConfigError(HarnessError):
    """A configuration key or value that cannot be used."""

    next_step = "`bench config --describe` prints every key with its value and meaning"


class RefusedError(ConfigError):
    """A combination of settings, each right in itself, that a rule refuses: too little history, say."""

    is_rule = True


class UnknownKeyError(ConfigError):
    """A configuration key that does not exist where it was given."""


class DataError(HarnessError):
    """Input data that breaks the panel's contract."""

    next_step = "mend the input and run the same command again"


class LookAheadError(HarnessError):
    """Something asked for data that is not known at its decision time."""

    next_step = "`bench explain` prints the decision and the purge of every window"


class UnsupportedWeightsError(HarnessError):
    """Sample weights were given to a model that cannot use them."""

    is_rule = True
    next_step = "take another model, or adaptation=rolling_retrain"


class ExperimentError(HarnessError):
    """An experiment of a suite that crashed; its traceback is kept beside the report."""


class SnapshotError(HarnessError):
    """A snapshot that is missing, damaged, or of another schema."""

    next_step = "make it again with the command that made it, or restore it from version control"


class ArtifactError(HarnessError):
    """The artifact store cannot be read or written."""

    next_step = "choose another folder with output.store=…"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return a "did you mean" hint for an unknown `name`, or None when nothing in `known` is near."""
    if len(name) > _LONGEST_NAME:
        return None
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{matches[0]}`?" if matches else None


def shortened(text: str) -> str:
    """Return a text for people: the middle of a line over 2,000 characters, and lines after the 60th, left out."""
    lines = text.split("\n")
    if len(lines) > _MOST_LINES:
        hidden = len(lines) - _MOST_LINES
        lines = [*lines[: _MOST_LINES - 10], f"    … ({hidden} more lines) …", *lines[-10:]]
    kept = _LONGEST_LINE // 2 - 50
    for at, line in enumerate(lines):
        if len(line) > _LONGEST_LINE:
            lines[at] = f"{line[:kept]} … ({len(line) - 2 * kept} more characters) … {line[-kept:]}"
    return "\n".join(lines)


@contextmanager
def no_exit() -> Iterator[None]:
    """Raise a RuntimeError when somebody else's code asks Python to exit: the command would end as if all were well."""
    try:
        yield
    except (SystemExit, GeneratorExit) as error:
        raise RuntimeError(f"code that was called asked Python to exit: {type(error).__name__}({error})") from error


def is_full_disk(error: OSError) -> bool:
    """Return whether no space, or none for this user or file, is left."""
    is_unnumbered = error.errno is None and any(words in str(error) for words in _FULL_DISK)
    return is_unnumbered or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refused_by_the_system(error: OSError) -> HarnessError | None:
    """Return the operating system's refusal as a message: a place that cannot be written is no bug. None for others."""
    if isinstance(error, FileNotFoundError):
        return removed_current_folder()
    if error.errno not in _REFUSALS and not is_full_disk(error):
        return None
    what, got = "The system refuses a file or a folder.", f"{type(error).__name__}: {error.strerror or error}"
    expected = "a place that you may write to, with space left"
    hint = "choose another one with output.runs=…, output.store=… or --out"
    return HarnessError(what, where=error.filename or "the disk", got=got, expected=expected, hint=hint)


def removed_current_folder() -> HarnessError | None:
    """Return the message that the current folder has been removed, or None when it is there."""
    try:
        os.getcwd()
    except OSError:
        what, where = "The current folder has been removed.", os.environ.get("PWD", os.curdir)
        hint = "cd to one, and run the command again"
        return HarnessError(what, where=where, expected="a folder that exists", hint=hint)
    return None

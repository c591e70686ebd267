"""Entry point: parse the command, run it, turn errors into one clear message and an exit code."""

from __future__ import annotations

import argparse
import errno
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import IO, cast

from rich.console import Console

from harness.cli import (
    audit,
    bless,
    cache,
    check,
    completion,
    config,
    convert_qlib,
    data,
    diff,
    explain,
    leaderboard,
    log,
    migrate,
    new,
    nightly,
    report,
    run,
    search,
    track,
)
from harness.cli.progress import StatusConsole
from harness.cli.tree import leaves
from harness.errors import HarnessError
from harness.provenance import code_version
from harness.redaction import RedactedStream, redacted

__all__ = ["build_parser", "main"]

_HELP = """\
Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

  bench run                           the main job on a simulated market
  bench run data=cn_csi300            the same on real prices
  bench explain windows.step=40       which windows would be walked
  bench COMMAND --help                teaches a command"""
# What a user can mend. A file that is not found is not among it: whoever reads one says so in words of its own.
_REFUSED_BY_THE_SYSTEM = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG),
    }
)
_COMMANDS = (
    run,
    search,
    explain,
    config,
    audit,
    check,
    bless,
    log,
    diff,
    nightly,
    migrate,
    data,
    cache,
    report,
    leaderboard,
    track,
    new,
    convert_qlib,
    completion,
)
_INTERRUPTED = 130
_WIDTH_OF_A_FILE = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one `bench` command and return its exit code: 0 fine, 2 a mistake of the user, 130 interrupted."""
    if arguments is None:
        sys.excepthook = _tell_bug
    parser = build_parser()
    given, rest = parser.parse_known_args(arguments)
    _take(rest, given, parser)
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
    out = Console(file=_stream(sys.stdout), highlight=False, emoji=False, width=width)
    err = Console(file=_stream(sys.stderr), stderr=True, highlight=False, emoji=False)
    verbosity = given.verbose - given.quiet
    try:
        return int(given.command(given, out, StatusConsole(verbosity)))
    except HarnessError as error:
        if error.hint is None and str(error.where).startswith("--"):
            error.hint = f"`bench {given.path} --help` explains it"
        err.print(f"bench: {error}", style="bold red", markup=False, soft_wrap=True)
        if verbosity > 0 and error.__cause__ is not None:
            err.print("".join(traceback.format_exception(error.__cause__)), markup=False, soft_wrap=True)
        return error.exit_code
    except OSError as error:
        if error.errno not in _REFUSED_BY_THE_SYSTEM:
            raise
        err.print(f"bench: {_refused(error)}", style="bold red", markup=False, soft_wrap=True)
        return HarnessError.exit_code
    except KeyboardInterrupt:
        err.print("bench: interrupted; finished windows are kept, run the same command to resume.", style="yellow")
        return _INTERRUPTED


def _stream(inner: IO[str]) -> IO[str]:
    return cast("IO[str]", RedactedStream(inner))


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as Python does, without passwords."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _take(rest: list[str], given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Add what follows an option to the list that stands before it: argparse would refuse ``run --json model=mlp``."""
    several = getattr(given, "targets", getattr(given, "overrides", None))
    if rest and (several is None or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if several is not None:
        several.extend(rest)


def _refused(error: OSError) -> HarnessError:
    """Return the operating system's refusal as a message: a place that cannot be written is no bug of ours."""
    return HarnessError(
        "The system refuses a file or a folder.",
        where=error.filename or "the disk",
        got=f"{type(error).__name__}: {error.strerror}",
        expected="a place that you may write to, with space left",
        hint="choose another one with output.runs=…, output.store=… or --out",
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="bench", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"bench {code_version()}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(groups)
    parser.set_defaults(build=build_parser)
    for path, leaf in leaves(parser).items():
        leaf.set_defaults(path=" ".join(path))
        loudness = leaf.add_mutually_exclusive_group()
        loudness.add_argument(
            "-v",
            "--verbose",
            action="count",
            default=0,
            help="also tell the seconds of every stage, and causes of errors",
        )
        loudness.add_argument("-q", "--quiet", action="count", default=0, help="tell nothing but the result and errors")
    return parser

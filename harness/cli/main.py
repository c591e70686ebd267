"""Entry point: parse the command, run it, turn errors into one clear message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

from harness.cli.commands import COMMANDS
from harness.cli.shared import leaves
from harness.cli.signals import exit_code, interruptible
from harness.cli.streams import as_json, degrading
from harness.errors import HarnessError, refused_by_the_system

_HELP = """\
Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

  bench run                           the main job on a simulated market
  bench run data=cn_csi300            the same on real prices
  bench explain windows.step=40       which windows would be walked
  bench COMMAND --help                teaches a command

Ctrl-C, SIGTERM and SIGHUP end a command in order, with its workers; finished windows are kept. The exit code is then
130, 143 or 129."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one `bench` command and return its exit code: 0 fine, 2 a mistake of the user, 130 and so on interrupted.

    SIGTERM and SIGHUP end a command as Ctrl-C does, with the exit code 128 + the signal's number.
    """
    if arguments is None:
        sys.excepthook = _tell_bug
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Threads that spin while they wait for each other take the cores that others need: on a machine that is busy, or
    # that a container gives half of, trees take ten times as long. Libraries ask for it once, when they are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with degrading():
        parser = build_parser(next((word for word in given if not word.startswith("-")), ""))
        parsed, rest = parser.parse_known_args(given)
        _take(rest, parsed, parser)
        return _run(parsed)


def _run(given: argparse.Namespace) -> int:
    """Run a command that was understood; what goes wrong becomes a message and an exit code."""
    from harness.cli.streams import ErrorConsole, OutputConsole, StatusConsole

    verbosity = given.verbose - given.quiet
    out, err = OutputConsole(), ErrorConsole()
    if _prints_json(given):
        as_json()
    try:
        with interruptible() as ending:
            code = int(given.command(given, out, StatusConsole(verbosity)))
        return code if ending.error is None else exit_code(ending.error)  # a search ends itself, with what it has
    except HarnessError as error:
        if error.hint is None and str(error.where).startswith("--"):
            error.hint = f"`bench {given.path} --help` explains it"
        err.print(f"bench: {error}", style="bold red", markup=False, soft_wrap=True)
        if verbosity > 0 and error.__cause__ is not None:
            err.print("".join(traceback.format_exception(error.__cause__)), markup=False, soft_wrap=True)
        return error.exit_code
    except OSError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            return exit_code(error.__context__)  # a display that cannot end itself, its terminal is gone
        refusal = refused_by_the_system(error)
        if refusal is None:
            raise
        err.print(f"bench: {refusal}", style="bold red", markup=False, soft_wrap=True)
        return HarnessError.exit_code
    except KeyboardInterrupt as error:
        with contextlib.suppress(OSError):  # the terminal may be gone
            err.print("bench: interrupted; finished windows are kept, run the same command to resume.", style="yellow")
        return exit_code(error)


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as Python does, without passwords."""
    from harness.errors.redaction import redacted

    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _prints_json(given: argparse.Namespace) -> bool:
    return (
        bool(getattr(given, "json", False))
        or getattr(given, "format", None) == "json"
        or getattr(given, "schema", None) is not None
    )


def _take(rest: list[str], given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Add what follows an option to the list that stands before it: argparse would refuse ``run --json model=mlp``."""
    several = getattr(given, "targets", getattr(given, "overrides", None))
    if rest and (several is None or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if several is not None:
        several.extend(rest)


def build_parser(asked: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, or of the one that is asked for: then the others are listed, not imported.

    Args:
        asked: Name of a command; None adds all of them, the empty text none.
    """
    parser = argparse.ArgumentParser(
        prog="bench", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        if asked in (None, command.name):
            command.add(groups)
        else:
            command.mention(groups)
    parser.set_defaults(build=build_parser)
    for path, leaf in leaves(parser).items():
        leaf.set_defaults(path=" ".join(path))
        _add_loudness(leaf)
    return parser


def _add_loudness(leaf: argparse.ArgumentParser) -> None:
    loudness = leaf.add_mutually_exclusive_group()
    loudness.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="also tell the seconds of every stage, and causes of errors",
    )
    loudness.add_argument(
        "-q", "--quiet", action="count", default=0, help="tell nothing but the result and errors: no progress, no notes"
    )


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **others: object) -> None:
        super().__init__(option_strings, dest, nargs=0, **others)  # type: ignore[arg-type]

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from harness.snapshots.provenance import code_version

        parser.exit(message=f"bench {code_version()}\n")

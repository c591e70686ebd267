"""The program: parse a command, run it, turn errors and signals into one clear message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import itertools
import os
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

from harness.cli.commands import COMMANDS, PURPOSES
from harness.cli.declaration import LOUDNESS, OVERRIDES, Answer, Command
from harness.cli.streams import OutputConsole, StreamConsole, as_json, degrading
from harness.errors import HarnessError, refused_by_the_system
from harness.store.files import config_files

# What commands of two words have in common.
_GROUPS = {
    "data": "look at, check or convert market data",
    "cache": "look after the artifact store",
    "track": "send runs and sweeps to MLflow",
}
# Folders of the configuration tree that other commands read: they are no Hydra groups.
OTHER_FOLDERS = ("reference", "regression", "suites")
_HELP = """\
Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

  bench run                   the main job on a simulated market
  bench run data=cn_csi300    the same on real prices
  bench COMMAND --help        teaches a command
"""
_END = """
Ctrl-C, SIGTERM and SIGHUP end a command in order; finished windows are kept. Exit codes: 130, 143, 129."""
_WITHOUT_PROJECT = ("init", "completion")  # which no project changes
_KILLED = 128  # a shell adds the signal's number


def run(arguments: Sequence[str] | None) -> int:
    """Run one command, by default that of the process, and return its exit code."""
    if arguments is None:
        sys.excepthook = _print_bug
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Threads that spin while they wait for each other take the cores that others need: on a machine that is busy, or
    # that a container gives half of, trees take ten times as long. Libraries ask for it once, when they are loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with degrading():
        return _run(parse(given))


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return what a command line says; its overrides, wherever they stand among options, in their order."""
    if words and words[0] in ("-sc", "--shell-completion"):
        words = ["run", "-q", *words]  # so ask the scripts that Hydra makes for shells
    first = next((word for word in words if not word.startswith("-")), "")
    parser = parsers(first)[""]
    parsed, rest = parser.parse_known_args(_with_values(words, first))
    # What follows an option belongs to the list before it; argparse would refuse `run --json model=mlp`.
    several = getattr(parsed, "targets", getattr(parsed, "overrides", None))
    if rest and (several is None or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if several is not None:
        several.extend(rest)
    return parsed


def _with_values(words: Sequence[str], command: str) -> Iterator[str]:
    """Yield words, an option's optional value too where an override follows: argparse would take that as the value."""
    options = [option for known in COMMANDS if known.name == command for option in (*known.options, *known.exclusive)]
    left_out = {name: settings["const"] for names, settings in options if "const" in settings for name in names}
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        full = [name for name in left_out if name == word or (word[2:] and name.startswith(word))]
        if full and ("=" in following or following.startswith(("+", "~"))):
            yield f"{full[-1]}={left_out[full[-1]]}"
        else:
            yield word


def _run(given: argparse.Namespace) -> int:
    verbosity = given.verbose - given.quiet
    out, asked = OutputConsole(), list[int]()
    err, status = (StreamConsole(sys.stderr, stderr=True, quiet=quiet) for quiet in (False, verbosity < 0))
    is_json = getattr(given, "json", False)
    if is_json or getattr(given, "format", "") == "json" or getattr(given, "schema", None):
        as_json()
    try:
        with _interruptible(asked), _project(given, status):
            answer = _answer(given, status, verbose=verbosity > 0)
            for line in answer.notes:
                status.write(line, "yellow")
            for error in answer.errors:
                err.write(f"bench: {error}", "bold red")
            from harness.cli.terminal import show

            if answer.record is not None and (is_json or answer.shown is None):
                out.write_record(answer.record() if callable(answer.record) else answer.record)
            else:
                for part in answer.shown or ():
                    show(out, part)
        return _end(asked) if asked else answer.code  # a search ends itself, with what it has
    except HarnessError as error:
        if error.hint is None and str(error.where).startswith("--"):
            error.hint = f"`bench {given.command.name} --help` explains it"
        err.write(f"bench: {error}", "bold red")
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            _print_bug(type(error), error, error.__traceback__)
        elif verbosity > 0 and error.__cause__ is not None:
            err.write("".join(traceback.format_exception(error.__cause__)))
        return error.exit_code
    except OSError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            return _end(asked)  # a display that cannot end itself, its terminal is gone
        refusal = refused_by_the_system(error)
        if refusal is None:
            raise
        err.write(f"bench: {refusal}", "bold red")
        return HarnessError.exit_code
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            err.write("bench: interrupted; finished windows are kept, run the same command to resume.", "yellow")
        return _end(asked)


@contextmanager
def _project(given: argparse.Namespace, status: StreamConsole) -> Iterator[None]:
    """Give a command what the project of the working directory adds, and say so; its own options come first."""
    found = None
    if os.path.exists("bench.toml") and given.command.name not in _WITHOUT_PROJECT:
        from harness.cli.project_file import importable, project_here

        found = project_here()
    if found is None:
        yield
        return
    status.write(f"project   {found}")
    if hasattr(given, "config_dir"):
        own = {os.path.abspath(folder) for folder in given.config_dir}
        given.config_dir = [*given.config_dir, *(f for f in found.conf if os.path.abspath(f) not in own)]
    with importable(found.modules):
        yield


def _answer(given: argparse.Namespace, status: StreamConsole, *, verbose: bool) -> Answer:
    from harness.cli.progress import progress
    from harness.execution.progress import telling

    command: Command = given.command
    module, name = command.function.split(":")
    with progress(status, verbose=verbose) as observer:
        with telling(observer, "loading") if command.is_long else contextlib.nullcontext():
            found = importlib.import_module(f"harness.cli.{module}")
        answer: Answer = getattr(found, name)(given, observer)
        return answer


@contextmanager
def _interruptible(asked: list[int]) -> Iterator[None]:
    """Let the end that a scheduler or a closed terminal asks for take the way of Ctrl-C; `asked` gets the signal.

    A signal that is ignored, as under ``nohup``, stays ignored; a second one must not disturb the cleanup.
    """
    is_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGTERM, signal.SIGHUP) if is_main else ()
    taken = [number for number in signals if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for other in taken:
            signal.signal(other, signal.SIG_IGN)
        asked.append(number)
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(asked: Sequence[int]) -> int:
    return _KILLED + (asked[0] if asked else signal.SIGINT)


def _print_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as Python does, without passwords."""
    from harness.errors.redaction import redacted

    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def group_choices() -> dict[str, list[str]]:
    """Return configuration group → its choices, both sorted."""
    found = {name: [path.stem for path in files] for name, files in config_files().items()}
    return {name: choices for name, choices in found.items() if choices and name not in OTHER_FOLDERS}


def parsers(asked: str | None = None) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of `bench` under the empty name, and that of every command under the command's.

    Args:
        asked: The first word of a command: the others are then only listed, which is faster. None is all of them.
    """
    as_written = argparse.RawDescriptionHelpFormatter
    usage, text = "bench [-h] [--version] COMMAND …", f"{_HELP}\n{chr(10).join(_purposes())}\n{_END}"
    top = argparse.ArgumentParser(prog="bench", usage=usage, description=text, formatter_class=as_written)
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    groups = {"": top.add_subparsers(metavar="COMMAND", required=True, help=argparse.SUPPRESS, prog="bench")}
    found = {"": top}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            parser = groups[""].add_parser(group, description=_GROUPS[group])
            groups[group] = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
        if asked in (None, command.name.split()[0]):
            description = f"{command.text.rstrip()}\n\n{textwrap.fill(f'exit codes: {command.exits}', 120)}"
            listed: dict[str, Any] = {"help": command.summary} if group else {}  # the others stand in the description
            leaf = groups[group].add_parser(name, description=description, **listed)
            leaf.formatter_class = as_written
            _add_options(leaf, command)
            found[command.name] = leaf
        elif not group:
            groups[group].add_parser(name, add_help=False)
    return found


def _purposes() -> Iterator[str]:
    """Yield a line for each command, beside what it is for."""
    for purpose, commands in PURPOSES.items():
        for at, (name, what) in enumerate(commands.items()):
            yield f"  {'' if at else purpose:<9}{name:<14}{what}"


def _add_options(leaf: argparse.ArgumentParser, command: Command) -> None:
    for names, settings in command.options:
        leaf.add_argument(*names, **settings)
    for exclusive in filter(None, (command.exclusive, LOUDNESS)):
        alternatives = leaf.add_mutually_exclusive_group()
        for names, settings in exclusive:
            alternatives.add_argument(*names, **settings)
    leaf.set_defaults(command=command)
    if OVERRIDES in command.options:
        keys = "GROUP=CHOICE, or GROUP.KEY=VALUE for one value; `bench config --describe` all keys"
        choices = [f"  {name:<12} {' | '.join(choices)}" for name, choices in group_choices().items()]
        leaf.epilog = "\n".join([f"configuration groups ({keys}):", *choices])


class _Version(argparse.Action):
    """Prints the version, which is looked up only then: that takes a moment."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from harness.errors.extras import code_version

        sys.stdout.write(f"bench {code_version()}\n")
        parser.exit()

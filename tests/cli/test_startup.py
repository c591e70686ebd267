"""The command line answers at once: what a command needs is imported when that command is asked for."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys

import pytest

from harness.cli.commands import COMMANDS, Command
from harness.cli.main import build_parser
from harness.cli.shared import leaves

SLOW = {
    "hydra",
    "pandas",
    "numba",
    "scipy",
    "numpy",
    "lightgbm",
    "pyarrow",
    "harness.audit",
    "harness.evaluation.evaluate",
}


def imported_by(*command: str) -> set[str]:
    """Return the slow modules that a command has imported when it exits."""
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('imported', *(set(sys.modules) & {SLOW!r}), file=sys.stderr))\n"
        "from harness.cli import main\n"
        f"sys.exit(main({list(command)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1].split()
    assert last[0] == "imported", done.stderr
    return set(last[1:])


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["--version"], ["rnu"], ["run", "--nonsense"]])
def test_help_imports_nothing_that_takes_time(command: list[str]) -> None:
    assert imported_by(*command) == set()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_list_says_of_a_command_what_the_command_says_of_itself(command: Command) -> None:
    groups = argparse.ArgumentParser().add_subparsers()
    importlib.import_module(command.module).add(groups)
    (listed,) = groups._choices_actions
    assert (listed.dest, listed.help) == (command.name, command.summary)


def test_every_command_module_is_in_the_list() -> None:
    everything = leaves(build_parser())
    assert {path[0] for path in everything} == {command.name for command in COMMANDS}
    assert [path[0] for path in leaves(build_parser("cache"))] != []
    assert {path for path in leaves(build_parser("cache")) if path[0] == "cache"} == {
        path for path in everything if path[0] == "cache"
    }


def test_the_help_of_a_command_is_the_same_whether_the_others_are_imported_or_not() -> None:
    assert build_parser("").format_help() == build_parser().format_help()
    for name in ("run", "cache"):
        alone, among = (leaves(parser) for parser in (build_parser(name), build_parser()))
        for path in (path for path in among if path[0] == name):
            assert alone[path].format_help() == among[path].format_help()

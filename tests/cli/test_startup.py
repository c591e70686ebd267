"""The command line answers at once: what a command needs is imported when that command runs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.audit.verdict import Level
from harness.cli import main
from harness.cli.application import parsers
from harness.cli.commands import COMMANDS
from harness.cli.declaration import Command
from harness.config import compose_config
from harness.data.convert import write_long
from harness.data.sources.synthetic import SyntheticMarket
from harness.integrations.skeletons import KINDS, PLANS
from harness.integrations.tracking import Mlflow
from harness.report.table import EXPORTS
from tests.cli.test_growing_data import COMMAND

SLOW = {
    "hydra",
    "pandas",
    "numba",
    "scipy",
    "numpy",
    "lightgbm",
    "pyarrow",
    "pyarrow.compute",
    "harness.audit.audit",
    "harness.run.sweep",
    "harness.report.leaderboard",
    "harness.cli.report",
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


@pytest.mark.parametrize(
    "command",
    [["--help"], ["--version"], ["rnu"], *([name, "--help"] for name in ("run", "audit", "search"))],
    ids=" ".join,
)
def test_help_imports_nothing_that_takes_time(command: list[str]) -> None:
    assert imported_by(*command) == set()


def test_a_configuration_is_composed_without_what_computes() -> None:
    assert imported_by("run", "--cfg", "job") == {
        "hydra",
        "numpy",
        "pyarrow",
        "harness.evaluation.evaluate",
    }


def test_what_grows_trees_is_imported_when_it_does() -> None:
    code = (
        "import sys\n"
        "from harness.config import compose_config\n"
        "made = compose_config(['adaptation=ddgda', 'model=lightgbm'])\n"
        "assert type(made.model).__name__ == 'LightGBM'\n"
        "assert not {'lightgbm', 'sklearn', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_run_whose_result_is_there_imports_nothing_that_computes_and_writes_nothing(tmp_path: Path) -> None:
    market = compose_config(["data.instruments=12", "data.days=300", "data.members=10"]).data
    assert isinstance(market, SyntheticMarket)
    panel = market.load()
    write_long(panel, tmp_path / "market", universe="all")
    dates = [panel.calendar.format(at) for at in (40, 219, 220, 270)]
    command = [
        "run",
        *COMMAND,
        f"data.root={tmp_path}/market",
        "evaluation=signal",
        "windows.train=[{},{}]".format(*dates),
    ]
    command += [
        "windows.test=[{},{}]".format(*dates[2:]),
        f"output.store={tmp_path}/store",
        f"output.runs={tmp_path}/runs",
    ]
    command = [
        text for text in command if not text.startswith("evaluation.portfolio") and text != "evaluation=portfolio"
    ]
    found = imported_by(*command)
    assert "numba" in found
    assert "pandas" not in found  # a table is read, and results are written, without it
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert imported_by(*command) == {"hydra", "numpy", "pyarrow", "harness.evaluation.evaluate"}
    names = {path.name for path, at in made.items() if path.stat().st_mtime_ns != at}
    assert names <= {"hydra.yaml"}


def test_a_skeleton_is_written_without_what_composes_a_configuration(tmp_path: Path) -> None:
    assert not imported_by("new", "model", "my_model", "--folder", str(tmp_path)) & {"hydra", "pandas", "scipy"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_is_declared_with_a_function_that_is_there(command: Command) -> None:
    module, function = command.function.split(":")
    assert callable(getattr(importlib.import_module(f"harness.cli.{module}"), function))


def test_every_command_has_a_parser_and_one_name() -> None:
    assert list(parsers()) == ["", *(command.name for command in COMMANDS)]


def test_the_help_of_a_command_is_the_same_whether_the_others_are_only_listed_or_not() -> None:
    among = parsers()
    assert parsers("")[""].format_help() == among[""].format_help()
    for name in ("run", "cache"):
        alone = parsers(name)
        assert list(alone) == ["", *(other for other in among if other.split()[:1] == [name])]
        assert all(alone[other].format_help() == among[other].format_help() for other in alone)


def test_what_a_declaration_repeats_of_a_module_that_is_slow_to_import_is_the_same() -> None:
    def setting(name: str, dest: str) -> object:
        action = next(action for action in parsers()[name]._actions if action.dest == dest)
        return action.choices or action.default

    assert setting("audit", "level") == tuple(str(level) for level in Level if level is not Level.NONE)
    assert setting("leaderboard", "format") == ("table", *EXPORTS)
    assert (*setting("new", "kind"), *PLANS) == tuple(KINDS)  # type: ignore[misc]
    assert setting("new", "plan") == ("weights", *PLANS)
    assert setting("track push", "experiment") == Mlflow.experiment


def test_on_windows_a_command_ends_at_once_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    for command in (["run"], ["--help"], []):
        assert main(command) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        (line,) = shown.err.splitlines()
        assert line.startswith("bench: ")
        for word in ("Windows", "Linux", "macOS", "WSL"):
            assert word in line


def test_on_windows_nothing_is_imported_that_needs_posix() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('fcntl', 'resource', 'pwd', 'grp')))\n"  # importing one of them then fails
        "sys.platform = 'win32'\n"
        "from harness.cli import main\n"
        "code = main(['run'])\n"
        "print(*(name for name in sys.modules if name.startswith('harness')))\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout.split()) == (2, ["harness", "harness.cli"])
    assert len(done.stderr.splitlines()) == 1

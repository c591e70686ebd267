"""`bench nightly`: run a suite, hold every case to its baseline, leave a report, return the worst exit code."""

from __future__ import annotations

import argparse
import importlib.util
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.cli.case_tables import print_verdicts
from harness.cli.cases import EXIT_CODES, Runner, Surviving, add_selection, run_selection, select, write_file
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands
from harness.errors import ConfigError
from harness.report.check_output import night_page, to_json, to_junit_xml
from harness.snapshots.verdicts import worst_exit_code
from harness.store.files import file_name

_HELP = f"""\
Run every case of a suite, hold it to its baseline, and write into one folder what a person, a program and a CI server
read: report.md, verdicts.json, junit.xml, and report.html about the runs themselves. A case that crashes leaves its
traceback there and stops no other. A case whose data are not there is skipped, and says so; a night in which every case
was skipped is not fine.

examples:
  bench nightly suite=smoke
  bench nightly suite=full --out nights/today
  BENCH_DATA=my_data bench nightly suite=full --json

{EXIT_CODES}"""
_STARTED, _CRASH, _PAGE = "started.txt", "crash-", "report.html"


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "nightly",
        help="run a suite, check it, write a report, return the worst exit code",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument("--out", default="nightly", metavar="FOLDER", help="where to write (default: nightly)")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of tables")
    parser.set_defaults(command=nightly)


def nightly(arguments: Arguments, out: Console, err: Console) -> int:
    """Run, judge, write, and return the worst exit code."""
    selection = select(arguments)
    if selection.recorded or not selection.suites:
        raise ConfigError(
            "A night runs suites.", where="TARGET", got=" ".join(arguments.targets), expected="suite=NAME"
        )
    folder = Path(arguments.out)
    write_file(str(folder / _STARTED), f"{_now()}\n", "--out")
    for old in folder.glob(f"{_CRASH}*.txt"):
        old.unlink()

    def keep(case: str, trace: str) -> str:
        path = folder / f"{_CRASH}{file_name(case)}.txt"
        write_file(str(path), trace, "--out")
        return f"in {path}"

    with ProgressObserver(err) as observer:
        run = Surviving(Runner(selection.overrides, arguments.config_dir, observer), keep)
        runs = run_selection(selection, arguments, observer, run)
        pages = _write_page(run.folders, folder / _PAGE, title=f"Night of {_now()}")
    verdicts = [ran.verdict for ran in runs]
    snapshots = {(r.verdict.suite, r.verdict.case): r.snapshot for r in runs if r.snapshot is not None}
    title = f"Night of {', '.join(suite.name for suite, _ in selection.suites)}"
    files = {
        "report.md": night_page(title, verdicts, snapshots, created=_now()),
        "verdicts.json": to_json(verdicts),
        "junit.xml": to_junit_xml(verdicts, name=title),
    }
    for name, text in files.items():
        write_file(str(folder / name), text, "--out")
    if arguments.json:
        out.print(files["verdicts.json"], markup=False, soft_wrap=True, end="")
    else:
        print_verdicts(out, verdicts)
        for path in (folder / "report.md", *pages):
            out.print(Text(f"report    {path}"), soft_wrap=True)
    return int(worst_exit_code(verdicts))


def _write_page(folders: list[Path], path: Path, *, title: str) -> tuple[Path, ...]:
    """Write the runs as one HTML page, where there are any and the libraries for it are installed."""
    found = [folder for folder in folders if folder.is_dir()]
    if not found or any(importlib.util.find_spec(name) is None for name in ("jinja2", "plotly")):
        return ()
    from harness.report.cells import read_cells
    from harness.report.page import write_report

    return (write_report(read_cells(found), path, title=title),)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""`bench diff`: two versions, cases, runs or files beside each other."""

from __future__ import annotations

import argparse

from rich.console import Console

from harness.cli.case_tables import print_verdicts
from harness.cli.cases import EXIT_CODES, add_results, baselines_of, standard_for
from harness.cli.shared import Arguments, Commands
from harness.report.check_output import to_json

_HELP = f"""\
Compare any two snapshots: versions (linear@v2), cases (smoke/linear), runs (their folder) or files. Where their
identities differ, the keys are named; where the data differ and both panels are in the store, so are the instruments
and dates. Numbers are shown all the same, and called not comparable.

examples:
  bench diff smoke/linear@v1 smoke/linear@v2
  bench diff smoke/linear runs/my-run-0123456789ab --all

{EXIT_CODES}"""


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "diff",
        help="compare two versions, cases, runs or files",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("baseline", metavar="A", help="CASE, SUITE/CASE, either with @vN, a run's folder, or a file")
    parser.add_argument("candidate", metavar="B", help="the other one")
    add_results(parser)
    parser.add_argument(
        "--regression", default="default", metavar="NAME", help="tolerances: a name or a path ending in .yaml"
    )
    parser.add_argument(
        "--config-dir", action="append", default=[], metavar="FOLDER", help="a folder with your own regression/"
    )
    parser.add_argument("--store", metavar="FOLDER", help="the artifact store (default: output.store)")
    parser.add_argument("--all", action="store_true", help="show every metric, not only findings")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON instead of tables")
    parser.set_defaults(command=diff)


def diff(arguments: Arguments, out: Console, err: Console) -> int:
    """Compare two snapshots and return the exit code of the verdict."""
    baselines = baselines_of(arguments)
    old, new = baselines.resolve(arguments.baseline), baselines.resolve(arguments.candidate)
    overrides = [] if arguments.store is None else [f"output.store='{arguments.store}'"]
    standard = standard_for(arguments, arguments.regression, overrides)
    verdict = standard.compare(old.snapshot, new.snapshot, (old.label, new.label))
    if arguments.json:
        out.print(to_json([verdict]), markup=False, soft_wrap=True, end="")
    else:
        print_verdicts(out, [verdict], all_metrics=arguments.all)
    return int(verdict.exit_code)

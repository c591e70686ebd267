"""`bench check`: whether the numbers are still what was blessed."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace

from rich.console import Console

from harness.cli.case_tables import print_verdicts
from harness.cli.cases import EXIT_CODES, Selection, Timed, add_selection, run_selection, runner, select, write_file
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands
from harness.config.tolerances import Learned, Tolerances, write_tolerances
from harness.errors import ConfigError
from harness.execution.progress import Countdown
from harness.report.check_output import to_json, to_junit_xml
from harness.snapshots.learning import learn
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.suite import named_tolerances
from harness.snapshots.verdicts import worst_exit_code

_HELP = f"""\
Run the cases of a suite and hold every number to its blessed baseline. What is in the store is not computed again.

A case that says audit=static, sampled or full is audited too, and a leak fails it.

The same code in the same environment must give the same bits. Another processor, library or code is held to the
tolerances of conf/regression, and the verdict says which rule was applied and why. A metric that is gone, renamed or
undefined is a finding, and so is a baseline that is missing, edited by hand, or without a case.

examples:
  bench check smoke
  bench check smoke/linear --all
  bench check runs/my-run-0123456789ab --as mine/linear
  bench check smoke --json --junit verdicts.xml
  bench check smoke --learn seeds=5        tolerances from the spread over five seeds

{EXIT_CODES}"""
_FEWEST = 2


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "check",
        help="hold a suite, cases or runs to their blessed baselines",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument("--all", action="store_true", help="show every metric, not only findings")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of tables")
    parser.add_argument("--junit", metavar="FILE", help="write the verdicts as JUnit XML")
    parser.add_argument("--learn", metavar="seeds=K", help="run each case under K seeds and write learned tolerances")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="with --learn: where to write them (default: conf/regression/learned-SUITE.yaml)",
    )
    parser.set_defaults(command=check)


def check(arguments: Arguments, out: Console, err: Console) -> int:
    """Run the cases, print the verdicts, and return the worst exit code."""
    selection = select(arguments)
    if arguments.learn is not None:
        return _learn(selection, arguments, out, err)
    with ProgressObserver(err) as observer:
        verdicts = [ran.verdict for ran in run_selection(selection, arguments, observer)]
    if arguments.junit is not None:
        write_file(arguments.junit, to_junit_xml(verdicts), "--junit")
    if arguments.json:
        out.print(to_json(verdicts), markup=False, soft_wrap=True, end="")
    else:
        print_verdicts(out, verdicts, all_metrics=arguments.all)
    return int(worst_exit_code(verdicts))


def _learn(selection: Selection, arguments: Arguments, out: Console, err: Console) -> int:
    seeds = _seeds(arguments.learn)
    if len(selection.suites) != 1 or selection.recorded:
        raise ConfigError(
            "Tolerances are learned for one suite.", where="TARGET", got=" ".join(arguments.targets), expected="a suite"
        )
    ((suite, _),) = selection.suites
    with ProgressObserver(err) as observer:
        run = Timed(runner(selection, arguments, observer))
        countdown = Countdown(observer, "runs", len(suite.cases) * len(seeds))
        snapshots: list[Snapshot] = []
        for case in suite.cases:
            names = (f"suite='{suite.name}'", f"case='{case.name}'")
            for seed in seeds:
                snapshots.append(run((*case.overrides, *names, f"seed={seed}", "audit=none")).snapshot)
                countdown.ended(run.last())
        countdown.finish()
    configured = named_tolerances(arguments.regression or suite.regression, arguments.config_dir)
    learned = _beside(learn(snapshots), configured)
    folder = arguments.config_dir[0] if arguments.config_dir else "conf"
    path = arguments.out or f"{folder}/regression/learned-{suite.name}.yaml"
    command = f"bench check {shlex.join(arguments.targets)} --learn seeds={len(seeds)}"
    write_tolerances(learned, path, comment=_COMMENT.format(command=command, last=seeds[-1], base=suite.regression))
    moved = sum(isinstance(rule, Learned) for _, rule in learned.rules)
    out.print(f"{moved} learned tolerances written to {path}", markup=False, soft_wrap=True)
    out.print(f"`regression: {path}` in the suite holds its cases to them", markup=False, soft_wrap=True)
    return 0


_COMMENT = """\
Written by `{command}`: standard deviations over the seeds 1 … {last}.
What no seed moves keeps its rule of {base}, below."""


def _beside(learned: Tolerances, configured: Tolerances) -> Tolerances:
    """Return the learned rules of what the seeds move, then the configured ones."""
    moved = tuple(
        (pattern, rule) for pattern, rule in learned.rules if isinstance(rule, Learned) and rule.learned > 0.0
    )
    return replace(configured, rules=(*moved, *configured.rules))


def _seeds(text: str) -> range:
    number = text.removeprefix("seeds=")
    if not number.isdecimal() or int(number) < _FEWEST:
        raise ConfigError("A spread needs seeds.", where="--learn", got=text, expected="seeds=K with K ≥ 2")
    return range(1, int(number) + 1)

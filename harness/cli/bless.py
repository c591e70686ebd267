"""`bench bless`: make what was run the baseline, and say why."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.cli.case_tables import print_verdicts
from harness.cli.cases import EXIT_CODES, add_selection, baselines_of, run_selection, select
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands
from harness.errors import ConfigError
from harness.report.check_output import case_record
from harness.report.leaderboard import refresh
from harness.snapshots.baseline import Baselines, Version
from harness.snapshots.suite import CaseRun
from harness.snapshots.verdicts import Problem, worst_exit_code
from harness.store.artifacts import canonical_json

_HELP = f"""\
Show how runs differ from their baselines, then write them as the next versions, results/SUITE/CASE/v0001.json and on.
No version is ever overwritten; each keeps its reason, its time and the digest of the one that it replaces. The
leaderboard that is made of them, results/leaderboard.md, is written anew.

Nothing is written for a case whose numbers and identity are those of its baseline, that failed, that was skipped, or
whose own audit (audit=static, sampled or full among its overrides) found that it used the future.

examples:
  bench bless smoke --reason "purge one day longer: labels are known a day later"
  bench bless smoke --new-only --reason "a case for sliding windows"
  bench bless runs/my-run-0123456789ab --as mine/linear --reason "what the paper reports"
  bench bless smoke --dry-run

{EXIT_CODES}"""
_IN_THE_WAY = (Problem.FAILED, Problem.CRASHED, Problem.DAMAGED, Problem.LEAK)


# What leaves a baseline that the leaderboard shows.
_STANDS = ("blessed", "unchanged", "kept")


@dataclass(frozen=True)
class Blessing:
    """What became of one case: ``blessed``, ``unchanged``, ``kept`` (has a baseline, new-only), or not blessable."""

    run: CaseRun
    action: str
    version: Version | None = None

    def line(self) -> str:
        """Return it for people."""
        name = f"{self.run.verdict.suite}/{self.run.verdict.case}"
        if self.run.verdict.problem is Problem.LEAK:
            return f"refused    {name}: {self.run.verdict.detail}"
        if self.version is not None:
            return f"blessed    {name} v{self.version.number}: {self.version.path}"
        return f"{self.action:<10} {name}"


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "bless",
        help="make runs the baseline, with a reason",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument("--reason", metavar="TEXT", help="one sentence: what changed, and why; kept in the snapshot")
    parser.add_argument("--new-only", action="store_true", help="only cases that have no baseline yet")
    parser.add_argument("--dry-run", action="store_true", help="show the differences and write nothing")
    parser.add_argument("--all", action="store_true", help="show every metric, not only findings")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON instead of tables")
    parser.set_defaults(command=bless)


def bless(arguments: Arguments, out: Console, err: Console) -> int:
    """Show the differences, write the next versions, and say with the exit code whether a case was in the way."""
    if not arguments.dry_run and not (arguments.reason or "").strip():
        raise ConfigError(
            "A blessing needs a reason.", where="--reason", expected="one sentence: what changed, and why"
        )
    selection = select(arguments)
    with ProgressObserver(err) as observer:
        runs = run_selection(selection, arguments, observer)
    if not arguments.json:
        print_verdicts(out, [run.verdict for run in runs], all_metrics=arguments.all)
    baselines = baselines_of(arguments)
    done = [_bless(run, baselines, arguments) for run in runs]
    if arguments.json:
        out.print(canonical_json([_record(b) for b in done], indent=1), markup=False, soft_wrap=True, end="")
    else:
        for blessing in done:
            out.print(Text(blessing.line()), soft_wrap=True)
    if not arguments.dry_run and any(blessing.action in _STANDS for blessing in done):
        page = refresh(Path(arguments.results))
        if page is not None:
            err.print(Text(f"written    {page}"), soft_wrap=True)
    in_the_way = [b.run.verdict for b in done if b.run.verdict.problem in _IN_THE_WAY]
    return int(worst_exit_code(in_the_way))


def _bless(run: CaseRun, baselines: Baselines, arguments: Arguments) -> Blessing:
    problem, snapshot = run.verdict.problem, run.snapshot
    if snapshot is None or problem not in (None, Problem.NO_BASELINE):
        return Blessing(run, "failed" if problem is None else problem.name.lower())
    latest = baselines.baseline(snapshot.suite, snapshot.case)
    if latest is not None and latest.snapshot.digest == snapshot.digest:
        return Blessing(run, "unchanged")
    if latest is not None and arguments.new_only:
        return Blessing(run, "kept")
    if arguments.dry_run:
        return Blessing(run, "would be")
    return Blessing(run, "blessed", baselines.bless(snapshot, arguments.reason, only_new=arguments.new_only))


def _record(blessing: Blessing) -> dict[str, object]:
    version = blessing.version
    return {
        "action": blessing.action,
        "version": None if version is None else version.number,
        "path": None if version is None else str(version.path),
        "verdict": case_record(blessing.run.verdict),
    }

"""`bench log`: what was blessed, when and why."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from harness.artifacts import canonical_json
from harness.baseline import Baselines, Version
from harness.cli.case_tables import history_table
from harness.cli.cases import add_results, baselines_of
from harness.cli.grid import show
from harness.cli.shared import Arguments, Commands
from harness.compare import ExitCode, differences, metric_leaves
from harness.errors import SnapshotError, closest

__all__ = ["add", "log"]

_HELP = """\
Print the versions of baselines, the newest first: when, by which code, what changed, and why. Every file is checked on
the way: one that was edited, renamed or taken away is reported.

examples:
  bench log                    every case
  bench log smoke/linear       one case
  bench log smoke --json

exit codes: 0 fine, 2 a mistake of the user or a damaged baseline"""
_SHOWN = 3


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "log",
        help="print the versions of baselines and their reasons",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="suites or cases (default: all)")
    add_results(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(command=log)


def log(arguments: Arguments, out: Console, err: Console) -> int:
    """Print the history of the cases that are meant; a damaged one is reported and the others follow."""
    baselines = baselines_of(arguments)
    records, damaged = [], False
    for suite, case in _chosen(baselines, arguments.targets):
        try:
            versions = baselines.history(suite, case)
        except SnapshotError as error:
            damaged = True
            err.print(Text(f"bench: {suite}/{case}: {error}", style="bold red"), soft_wrap=True)
            continue
        changes = _changes(versions)
        if arguments.json:
            records.append({"suite": suite, "case": case, "versions": _records(versions, changes)})
        else:
            show(out, history_table(f"{suite}/{case}", versions, changes))
    if arguments.json:
        out.print(canonical_json(records, indent=1), markup=False, soft_wrap=True, end="")
    return int(ExitCode.USER_ERROR if damaged else ExitCode.FINE)


def _chosen(baselines: Baselines, targets: Sequence[str]) -> list[tuple[str, str]]:
    known = [(suite, case) for suite in baselines.suites() for case in baselines.cases(suite)]
    if not targets and not known:
        raise SnapshotError("Nothing was blessed yet.", where=str(baselines.root), hint="bench bless smoke --reason …")
    chosen = [] if targets else known
    for target in targets:
        found = [pair for pair in known if target in (pair[0], pair[1], "/".join(pair))]
        if not found:
            names = sorted({text for pair in known for text in (*pair, "/".join(pair))})
            raise SnapshotError(
                "Nothing that was blessed has this name.",
                where=str(baselines.root),
                got=target,
                expected=", ".join(sorted({"/".join(pair) for pair in known})) or "nothing yet: bless a suite first",
                hint=closest(target, names),
            )
        chosen += [pair for pair in found if pair not in chosen]
    return chosen


def _changes(versions: Sequence[Version]) -> list[str]:
    """Return what each version changed in the one before it: the identity's keys, or how many metrics."""
    said = ["first"] if versions else []
    for old, new in itertools.pairwise(versions):
        keys = [d.path for d in differences(old.snapshot.identity, new.snapshot.identity)]
        if keys:
            more = f" and {len(keys) - _SHOWN} keys more" if len(keys) > _SHOWN else ""
            said.append(f"identity: {', '.join(keys[:_SHOWN])}{more}")
            continue
        before, after = (metric_leaves(v.snapshot.metrics) for v in (old, new))
        moved = [path for path in before.keys() | after.keys() if before.get(path, ...) != after.get(path, ...)]
        said.append(f"{len(moved)} of {len(before.keys() | after.keys())} metrics")
    return said


def _records(versions: Sequence[Version], changes: Sequence[str]) -> list[dict[str, object]]:
    return [
        {
            "version": v.number,
            "path": str(v.path),
            "time": v.time,
            "reason": v.reason,
            "changed": change,
            "digest": v.snapshot.digest,
            "overall": v.snapshot.metrics.get("overall"),
            "provenance": v.snapshot.provenance,
        }
        for v, change in zip(versions, changes, strict=True)
    ]

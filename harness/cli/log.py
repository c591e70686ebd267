"""`bench log`: what was blessed, when and why; and with ``--runs`` what was run."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.cli.case_tables import history_table, runs_table
from harness.cli.cases import add_results, baselines_of
from harness.cli.shared import Arguments, Commands
from harness.cli.streams import ErrorConsole
from harness.cli.terminal import show
from harness.errors import SnapshotError, closest
from harness.snapshots.baseline import Baselines, Version
from harness.snapshots.comparison import differences, metric_leaves
from harness.snapshots.snapshot import Snapshot, read_snapshot
from harness.snapshots.verdicts import ExitCode
from harness.store.artifacts import canonical_json

_HELP = """\
Print the versions of baselines, the newest first: when, by which code, what changed, and why. Every file is checked on
the way: one that was edited, renamed or taken away is reported.

examples:
  bench log                    every case
  bench log smoke/linear       one case
  bench log smoke --json
  bench log --runs default/linear    what lies in runs/: by which code, yours too, and with which numbers

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
    parser.add_argument("--runs", action="store_true", help="the runs of the cases instead of their baselines")
    parser.add_argument(
        "--runs-folder", default="runs", metavar="FOLDER", help="with --runs: where they lie (default: runs)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(command=log)


def log(arguments: Arguments, out: Console, _: Console) -> int:
    """Print the history of the cases that are meant; a damaged one is reported and the others follow."""
    if arguments.runs:
        return _log_runs(arguments, out)
    baselines = baselines_of(arguments)
    records, damaged = [], False
    for suite, case in _chosen(baselines, arguments.targets):
        try:
            versions = baselines.history(suite, case)
        except SnapshotError as error:
            damaged = True
            ErrorConsole().print(Text(f"bench: {suite}/{case}: {error}", style="bold red"), soft_wrap=True)
            continue
        changes = _changes(versions)
        if arguments.json:
            records.append({"suite": suite, "case": case, "versions": _records(versions, changes)})
        else:
            show(out, history_table(f"{suite}/{case}", versions, changes))
    if arguments.json:
        out.print(canonical_json(records, indent=1), markup=False, soft_wrap=True, end="")
    return int(ExitCode.USER_ERROR if damaged else ExitCode.FINE)


def _log_runs(arguments: Arguments, out: Console) -> int:
    """Print the runs of the cases that are meant, the newest first; a damaged one is reported and the others follow."""
    folder = Path(arguments.runs_folder)
    found: dict[tuple[str, str], list[tuple[Path, Snapshot]]] = {}
    damaged = False
    for path in sorted(folder.glob("*/snapshot.json")):
        try:
            snapshot = read_snapshot(path)
        except SnapshotError as error:
            damaged = True
            ErrorConsole().print(Text(f"bench: {error}", style="bold red"), soft_wrap=True)
            continue
        found.setdefault((snapshot.suite, snapshot.case), []).append((path.parent, snapshot))
    if not found and not damaged:
        raise SnapshotError("There is no run.", where=str(folder), hint="--runs-folder names another folder")
    records: list[dict[str, object]] = []
    for suite, case in _meant(sorted(found), arguments.targets, folder):
        runs = sorted(found[suite, case], key=lambda run: str(run[1].provenance.get("created")), reverse=True)
        records.append({"suite": suite, "case": case, "runs": [_run_record(*run) for run in runs]})
        if not arguments.json:
            show(out, runs_table(f"{suite}/{case}", runs))
    if arguments.json:
        out.print(canonical_json(records, indent=1), markup=False, soft_wrap=True, end="")
    return int(ExitCode.USER_ERROR if damaged else ExitCode.FINE)


def _run_record(folder: Path, snapshot: Snapshot) -> dict[str, object]:
    return {
        "path": str(folder / "snapshot.json"),
        "digest": snapshot.digest,
        "overall": snapshot.metrics.get("overall"),
        "provenance": snapshot.provenance,
    }


def _chosen(baselines: Baselines, targets: Sequence[str]) -> list[tuple[str, str]]:
    known = [(suite, case) for suite in baselines.suites() for case in baselines.cases(suite)]
    if not targets and not known:
        raise SnapshotError("Nothing was blessed yet.", where=str(baselines.root), hint="bench bless smoke --reason …")
    return _meant(known, targets, baselines.root)


def _meant(known: Sequence[tuple[str, str]], targets: Sequence[str], where: Path) -> list[tuple[str, str]]:
    chosen = [] if targets else list(known)
    for target in targets:
        found = [pair for pair in known if target in (pair[0], pair[1], "/".join(pair))]
        if not found:
            names = sorted({text for pair in known for text in (*pair, "/".join(pair))})
            raise SnapshotError(
                "Nothing here has this name.",
                where=str(where),
                got=target,
                expected=", ".join(sorted({"/".join(pair) for pair in known})) or "nothing yet",
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

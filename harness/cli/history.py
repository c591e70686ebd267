"""`bench log`, `bench diff` and `bench migrate`: snapshots that are there already."""

from __future__ import annotations

import itertools
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.cli.case_tables import history_table, print_verdicts, runs_table
from harness.cli.cases import standard_for
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.cli.terminal import show
from harness.errors import SnapshotError
from harness.report.check_output import to_json
from harness.snapshots.baseline import Baselines, Version, named
from harness.snapshots.comparison import differences, metric_leaves
from harness.snapshots.snapshot import Snapshot, migrate_file, read_snapshot
from harness.snapshots.verdicts import ExitCode

_SHOWN = 3
_SNAPSHOT = re.compile(r"v\d{4,}\.json|snapshot\.json")


def _report(error: object) -> None:
    """Print an error that does not end the command, however quiet it is."""
    ErrorConsole().write(f"bench: {error}", "bold red")


def _finish(arguments: Namespace, out: OutputConsole, records: Sequence[object], is_damaged: bool) -> int:
    if arguments.json:
        out.write_json(records)
    return int(ExitCode.USER_ERROR if is_damaged else ExitCode.FINE)


def log(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    if arguments.runs:
        return _log_runs(arguments, out)
    baselines = Baselines(Path(arguments.results))
    known = baselines.pairs
    if not arguments.targets and not known:
        raise SnapshotError("Nothing was blessed yet.", where=str(baselines.root), hint="bench bless smoke --reason …")
    records, is_damaged = [], False
    for suite, case in _meant(known, arguments.targets, baselines.root):
        try:
            versions = baselines.history(suite, case)
        except SnapshotError as error:
            is_damaged = True
            _report(f"{suite}/{case}: {error}")
            continue
        changes = _changes(versions)
        shown = [_version_record(*pair) for pair in zip(versions, changes, strict=True)]
        records.append({"suite": suite, "case": case, "versions": shown})
        if not arguments.json:
            show(out, history_table(f"{suite}/{case}", versions, changes))
    return _finish(arguments, out, records, is_damaged)


def _log_runs(arguments: Namespace, out: OutputConsole) -> int:
    folder = Path(arguments.runs_folder)
    found: dict[tuple[str, str], list[tuple[Path, Snapshot]]] = {}
    is_damaged = False
    for path in sorted(folder.glob("*/snapshot.json")):
        try:
            snapshot = read_snapshot(path)
        except SnapshotError as error:
            is_damaged = True
            _report(error)
            continue
        found.setdefault((snapshot.suite, snapshot.case), []).append((path.parent, snapshot))
    if not found and not is_damaged:
        raise SnapshotError("There is no run.", where=str(folder), hint="--runs-folder names another folder")
    records = []
    for suite, case in _meant(sorted(found), arguments.targets, folder):
        runs = sorted(found[suite, case], key=lambda run: str(run[1].provenance.get("created")), reverse=True)
        shown = [{"path": str(place / "snapshot.json"), **_snapshot_record(snapshot)} for place, snapshot in runs]
        records.append({"suite": suite, "case": case, "runs": shown})
        if not arguments.json:
            show(out, runs_table(f"{suite}/{case}", runs))
    return _finish(arguments, out, records, is_damaged)


def _version_record(version: Version, change: str) -> dict[str, object]:
    named = {"version": version.number, "path": str(version.path), "time": version.time, "reason": version.reason}
    return {**named, "changed": change, **_snapshot_record(version.snapshot)}


def _snapshot_record(snapshot: Snapshot) -> dict[str, object]:
    return {"digest": snapshot.digest, "overall": snapshot.metrics.get("overall"), "provenance": snapshot.provenance}


def _meant(known: Sequence[tuple[str, str]], targets: Sequence[str], where: Path) -> list[tuple[str, str]]:
    chosen = [] if targets else list(known)
    for target in targets:
        chosen += [pair for pair in named(known, target, where) if pair not in chosen]
    return chosen


def _changes(versions: Sequence[Version]) -> list[str]:
    """Return what each version changed in the one before it: the identity's keys, or how many metrics."""
    changes = ["first"] if versions else []
    for old, new in itertools.pairwise(versions):
        keys = [d.path for d in differences(old.snapshot.identity, new.snapshot.identity)]
        if keys:
            more = f" and {len(keys) - _SHOWN} keys more" if len(keys) > _SHOWN else ""
            changes.append(f"identity: {', '.join(keys[:_SHOWN])}{more}")
            continue
        before, after = (metric_leaves(v.snapshot.metrics) for v in (old, new))
        moved = [path for path in before.keys() | after.keys() if before.get(path, ...) != after.get(path, ...)]
        changes.append(f"{len(moved)} of {len(before.keys() | after.keys())} metrics")
    return changes


def diff(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    overrides = [] if arguments.store is None else [f"output.store='{arguments.store}'"]
    baselines = Baselines(Path(arguments.results))
    old, new = baselines.resolve(arguments.baseline), baselines.resolve(arguments.candidate)
    standard = standard_for(arguments, arguments.regression, overrides)
    verdict = standard.compare(old.snapshot, new.snapshot, (old.label, new.label))
    if arguments.json:
        out.write_document(to_json([verdict]))
    else:
        print_verdicts(out, [verdict], all_metrics=arguments.all)
    return int(verdict.exit_code)


def migrate(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    records, folders, is_damaged = [], set(), False
    for path in _files(arguments.paths):
        try:
            old, new = migrate_file(path)
        except SnapshotError as error:
            is_damaged = True
            _report(error)
            continue
        records.append({"path": str(path), "from": old, "to": new})
        folders.add(path.parent)
        if not arguments.json:
            out.write(f"{path}: {f'is of version {new} already' if old == new else f'version {old} → {new}'}")
    for folder in sorted(filter(_lacks_list, folders)):
        Baselines(folder.parent.parent).list_versions(folder.parent.name, folder.name)
    return _finish(arguments, out, records, is_damaged)


def _lacks_list(folder: Path) -> bool:
    """Return whether a folder is that of a baseline, as `Baselines` lays it out, without a list of its versions."""
    first = folder / "v0001.json"
    if not first.is_file() or (folder / "versions.json").exists():
        return False
    snapshot = read_snapshot(first)
    return snapshot.blessing is not None and (snapshot.suite, snapshot.case) == (folder.parent.name, folder.name)


def _files(paths: list[str]) -> Iterator[Path]:
    for text in paths:
        path = Path(text)
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*.json") if _SNAPSHOT.fullmatch(p.name))
        if not found:
            raise SnapshotError("The folder holds no snapshot.", where=text, expected="v0001.json, snapshot.json")
        yield from found

"""`bench log`, `bench diff` and `bench migrate`: snapshots that are there already."""

from __future__ import annotations

import itertools
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.cases import shown_verdicts, standard_for
from harness.cli.declaration import Answer
from harness.errors import SnapshotError
from harness.evaluation.metrics import METRICS, MetricRecord, columns_of
from harness.execution.progress import PlainObserver
from harness.report.check_output import to_json
from harness.report.table import Table, TableCell, metric_cell, metric_columns, prose, table
from harness.snapshots.baseline import Baselines, Version, named
from harness.snapshots.comparison import differences, metric_leaves
from harness.snapshots.snapshot import Snapshot, migrate_file, read_snapshot

_SHOWN = 3
_SNAPSHOT = re.compile(r"v\d{4,}\.json|snapshot\.json")


def log(arguments: Namespace, observer: PlainObserver) -> Answer:
    if arguments.runs:
        return _log_runs(arguments)
    baselines = Baselines(Path(arguments.results))
    known = baselines.pairs
    if not arguments.targets and not known:
        raise SnapshotError("Nothing was blessed yet.", where=str(baselines.root), hint="bench bless smoke --reason …")
    shown, records, errors = [], list[object](), list[object]()
    for suite, case in _meant(known, arguments.targets, baselines.root):
        try:
            versions = baselines.history(suite, case)
        except SnapshotError as error:
            errors.append(f"{suite}/{case}: {error}")
            continue
        listed, rows = list[object](), list[tuple[TableCell | str, ...]]()
        headline = _headline(version.snapshot for version in versions)
        for version, change in zip(versions, _changes(versions), strict=True):
            named = {"version": version.number, "path": str(version.path), "time": version.time}
            said = {"reason": version.reason, "changed": change}
            listed.append({**named, **said, **_snapshot_record(version.snapshot)})
            named_row = _row(f"v{version.number}", version.time, version.snapshot, headline)
            rows.append((*named_row, change, version.reason))
        records.append({"suite": suite, "case": case, "versions": listed})
        columns = ("version", "blessed", "commit", *metric_columns(headline), *prose("changed", "reason"))
        shown.append(table(f"{suite}/{case}", columns, reversed(rows)))
    return _logged(shown, records, errors)


def _headline(snapshots: Iterable[Snapshot]) -> tuple[MetricRecord, ...]:
    """Return the two metrics that tell most of some snapshots: IC and rank IC, or the first that have a column."""
    overalls = [snapshot.overall for snapshot in snapshots]
    known = columns_of(METRICS, overalls)
    return tuple(known[name] for name in ("IC", "rank_IC") if name in known) or tuple(known.values())[:2]


def _log_runs(arguments: Namespace) -> Answer:
    folder = Path(arguments.runs_folder)
    found: dict[tuple[str, str], list[tuple[Path, Snapshot]]] = {}
    shown, records, errors = [], list[object](), list[object]()
    for path in sorted(folder.glob("*/snapshot.json")):
        try:
            snapshot = read_snapshot(path)
        except SnapshotError as error:
            errors.append(error)
            continue
        found.setdefault((snapshot.suite, snapshot.case), []).append((path.parent, snapshot))
    if not found and not errors:
        raise SnapshotError("There is no run.", where=str(folder), hint="--runs-folder names another folder")
    try:
        meant = _meant(sorted(found), arguments.targets, folder)
    except SnapshotError as error:
        return Answer(code=2, errors=[*errors, error])  # what is damaged may be what was asked for
    for suite, case in meant:
        runs = sorted(found[suite, case], key=lambda run: str(run[1].provenance.get("created")), reverse=True)
        listed = [{"path": str(place / "snapshot.json"), **_snapshot_record(snapshot)} for place, snapshot in runs]
        records.append({"suite": suite, "case": case, "runs": listed})
        headline = _headline(snapshot for _, snapshot in runs)
        columns = ("run", "computed", "commit", "own code", *metric_columns(headline))
        shown.append(table(f"{suite}/{case}", columns, (_run_row(*run, headline) for run in runs)))
    return _logged(shown, records, errors)


def _logged(shown: Sequence[Table | str], records: Sequence[object], errors: Sequence[object]) -> Answer:
    return Answer(shown, records, 2 if errors else 0, errors=errors)


def _run_row(folder: Path, snapshot: Snapshot, headline: Sequence[MetricRecord]) -> tuple[TableCell | str, ...]:
    user = snapshot.provenance.get("user_code") or {}
    own = [str(user.get("digest", "–"))[:8], *(_commit(found) for found in user.get("repositories", ()))]
    return _row(str(folder), str(snapshot.provenance.get("created", "–")), snapshot, headline, ", ".join(own))


def _row(
    name: str, time: str, snapshot: Snapshot, headline: Sequence[MetricRecord], *own: str
) -> tuple[TableCell | str, ...]:
    metrics = (metric_cell(metric, snapshot.overall.get(metric.name)) for metric in headline)
    return (name, time[:16].replace("T", " "), _commit(snapshot.provenance.get("code")), *own, *metrics)


def _commit(code: Mapping[str, Any] | None) -> str:
    found = code or {}
    return f"{str(found.get('commit') or '–')[:10]}{' +' if found.get('dirty') else ''}"


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


def diff(arguments: Namespace, observer: PlainObserver) -> Answer:
    overrides = [] if arguments.store is None else [f"output.store='{arguments.store}'"]
    baselines = Baselines(Path(arguments.results))
    old, new = baselines.resolve(arguments.baseline), baselines.resolve(arguments.candidate)
    standard = standard_for(arguments, arguments.regression, overrides)
    verdict = standard.compare(old.snapshot, new.snapshot, (old.label, new.label))
    shown = list(shown_verdicts([verdict], all_metrics=arguments.all))
    return Answer(shown, to_json([verdict]), int(verdict.exit_code))


def migrate(arguments: Namespace, observer: PlainObserver) -> Answer:
    shown, records, errors, folders = list[str](), list[object](), list[object](), set[Path]()
    for path in list(_files(arguments.paths)):  # before anything is written
        try:
            old, new = migrate_file(path)
        except SnapshotError as error:
            errors.append(error)
            continue
        records.append({"path": str(path), "from": old, "to": new})
        folders.add(path.parent)
        shown.append(f"{path}: {f'is of version {new} already' if old == new else f'version {old} → {new}'}")
    try:
        for folder in sorted(filter(_lacks_list, folders)):
            Baselines(folder.parent.parent).list_versions(folder.parent.name, folder.name)
    except SnapshotError as error:
        errors.append(error)
    return _logged(shown, records, errors)


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
        inside = (p for p in path.rglob("*.json") if _SNAPSHOT.fullmatch(p.name))
        found = sorted(inside) if path.is_dir() else [path]
        if not found:
            raise SnapshotError("The folder holds no snapshot.", where=text, expected="v0001.json, snapshot.json")
        yield from found

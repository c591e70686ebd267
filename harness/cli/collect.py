"""`bench collect`: find finished runs by their configuration, merge their windows, average them into an ensemble."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from harness.cli.declaration import Answer
from harness.errors import ConfigError, DataError
from harness.evaluation.metrics import METRICS
from harness.execution.progress import PlainObserver, telling
from harness.report.cells import Report, compare, differing_keys, leaderboard_rows, read_cells
from harness.report.table import Table, TableCell, metric_cell, metric_columns, prose, table
from harness.run.collection import Collection, averaged, merged, publish, select
from harness.run.finished import FinishedRun, flatten, folders_under
from harness.run.sweep_columns import caption

_SHOWN = (METRICS["IC"], METRICS["rank_IC"])
_MOST = 6  # keys in the list of runs


def collect(arguments: Namespace, observer: PlainObserver) -> Answer:
    if arguments.case and not (arguments.merge or arguments.average):
        what = "Nothing is made that could have a name."
        raise ConfigError(what, where="--case", got=arguments.case, expected="--merge or --average beside it")
    with telling(observer, "runs"):
        report = _read(arguments.folders)
        runs: Sequence[FinishedRun] = select(report.cells, arguments.where)
    if not arguments.merge and not arguments.average:
        return Answer([_listed(runs)], [_record(run) for run in runs])
    root, command = runs[0].folder.parent, _command(arguments)

    def published(made: Collection, case: str) -> FinishedRun:
        return publish(made, case, command, root, observer)

    made = list[FinishedRun]()
    if arguments.merge:
        collections, alone = merged(runs)
        name = None if arguments.average else arguments.case
        made = [published(one, name or one.members[0].snapshot.case) for one in collections]
        runs = [*made, *alone]
    if arguments.average:
        ensemble = averaged(runs, arguments.average)
        made.append(published(ensemble, arguments.case or f"ensemble.{arguments.average}"))
        runs = [*ensemble.members, made[-1]]
    return _answer(runs, made, arguments.average is not None)


def _read(folders: Sequence[str]) -> Report:
    """Read runs and the cells of sweeps, by default all under ``runs``."""
    found = list(map(Path, folders)) or folders_under(Path("runs"))[1]
    if not found:
        raise DataError("There is no run.", where="runs", expected="a folder with runs", hint="bench run")
    return read_cells(found)


def _listed(runs: Sequence[FinishedRun]) -> Table:
    """Return the runs with the keys that tell them apart, and what they have reached."""
    keys = differing_keys(runs)
    rows = list[tuple[TableCell | str, ...]]()
    for run in runs:
        own = flatten(run.config)
        metrics = (metric_cell(metric, run.overall.get(metric.name)) for metric in _SHOWN)
        rows.append((run.folder.name, *(str(own.get(key, "–")) for key in keys[:_MOST]), *metrics))
    more = f", and differ in {len(keys) - _MOST} keys more" if len(keys) > _MOST else ""
    return table(f"{len(runs)} runs{more}", ("run", *prose(*keys[:_MOST]), *metric_columns(_SHOWN)), rows)


def _record(run: FinishedRun) -> dict[str, object]:
    about = {"folder": str(run.folder), "suite": run.snapshot.suite, "case": run.snapshot.case}
    return {**about, "digest": run.snapshot.digest, "config": run.config, "overall": run.overall}


def _answer(runs: Sequence[FinishedRun], made: Sequence[FinishedRun], is_ensemble: bool) -> Answer:
    """Return the runs that were made; an ensemble beside its members, with the tests of a leaderboard."""
    report = read_cells([run.folder for run in runs])
    statistics = compare(report) if is_ensemble else None
    shown: list[Table | str] = [leaderboard_rows(report, statistics)]
    shown += [] if statistics is None else [caption(statistics)]
    shown += [f"snapshot  {run.folder / 'snapshot.json'}" for run in made]
    shown += [f"note      {run.name}: {note}" for run in made for note in run.notes]
    return Answer(shown, [_record(run) for run in made])


def _command(arguments: Namespace) -> list[str]:
    given = [*arguments.folders, *(f"--where={text}" for text in arguments.where)]
    given += ["--merge"] if arguments.merge else []
    given += [f"--average={arguments.average}"] if arguments.average else []
    return [*given, *([f"--case={arguments.case}"] if arguments.case else [])]

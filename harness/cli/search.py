"""`bench search`: hyper-parameters, chosen on the validation period; what `bench run` answers where it searches."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from harness.cli.declaration import Answer
from harness.evaluation.metrics import METRICS, MetricRecord
from harness.execution.progress import PlainObserver
from harness.report.table import Table, TableCell, numbers, prose, table
from harness.run.search import trials as searching
from harness.run.sweep import Outcome

_INTERRUPTED = 130


def search(arguments: Namespace, observer: PlainObserver) -> Answer:
    request = searching.SearchRequest(
        overrides=tuple(arguments.overrides),
        trials=arguments.trials,
        metric=arguments.metric,
        direction=arguments.direction,
        seed=arguments.seed,
        batch=arguments.batch,
        storage=None if arguments.storage is None else Path(arguments.storage),
        search_path=tuple(map(Path, arguments.config_dir)),
    )

    def report(trial: searching.TrialResult) -> None:
        if trial.reason is not None:
            observer.notice(f"{trial.name}: {trial.outcome}: {trial.reason}")

    return search_answer(searching.search(request, observer, report))


def search_answer(found: searching.SearchResult) -> Answer:
    first, last = found.period.judged
    shown: list[Table | str] = [
        _trials_table(found),
        f"judged    {first} … {last}; the final test range begins on {found.period.decision}",
        f"record    {found.folder / 'search.json'}",
        f"test it   {found.command or 'no trial has a value'}",
    ]
    if found.interrupted:
        why = "interrupted; finished trials are kept, run the same command to resume."
        return Answer(shown, found.to_json(), _INTERRUPTED, errors=[why])
    has_failed = any(trial.outcome is Outcome.FAILED for trial in found.trials)
    return Answer(shown, found.to_json(), 2 if found.best is None else int(has_failed))


def _trials_table(found: searching.SearchResult) -> Table:
    name = found.request.metric
    # What an objective of the user is called is its heading.
    metric = METRICS.get(name, MetricRecord(name, name, "none", name, digits=None))
    rows = []
    for trial in found.ranked:
        style = "bold green" if trial is found.best else ""
        note = "" if trial.reason is None else f"\n{trial.outcome}: {(trial.reason.splitlines() or [''])[0]}"
        rows.append((str(trial.number), f"{trial.name}{note}", TableCell(metric.text(trial.value), style=style)))
    title = f"{len(found.trials)} trials, {found.direction} {metric.heading} on the validation period"
    return table(title, ("trial", *prose("values"), *numbers(metric.heading)), rows)

"""`bench search`: hyper-parameters that are chosen on the validation period, never on test."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands, add_command
from harness.cli.terminal import show
from harness.evaluation.metrics import METRICS, MetricRecord
from harness.report.table import Table, TableCell, numbers, prose, table
from harness.run.search import SearchRequest, SearchResult, TrialResult, search
from harness.run.sweep import Outcome

_HELP = """\
Search hyper-parameters on the validation period with Optuna's TPE sampler, and print the command that evaluates the
best trial on the test range. The search never runs it.

Every trial is an ordinary run on a schedule that is moved back: it is tested on the configured valid segment, stops
early on the tail of train, and its data end before the first test decision. The last look-ahead periods of valid are
left out, because their labels reach into test. The same seed gives the same trials. The same command goes on where it
stopped: its finished runs are reused, with --storage also its trials. --trials counts all trials of a study.

With --batch N the trials are asked for N at a time, and executor=local or executor=dask runs them at the same time. The
trials depend on N, for those of a batch do not know how the others end, but never on the executor or its workers.

A search space is written in Hydra's grammar, in quotes:
  KEY=interval(0.1,1)     KEY=int(interval(1,9))     KEY=tag(log,interval(1e-3,100))
  KEY=range(10,100,10)    KEY=choice(a,b)

examples:
  bench search 'model.alpha=tag(log,interval(0.001,1000))' --trials 20
  bench search data=cn_csi300 model=lightgbm 'model.num_leaves=int(interval(15,255))' \\
      'model.learning_rate=tag(log,interval(0.01,0.3))' --trials 30 --storage search.db
  bench search executor=local 'model.alpha=tag(log,interval(0.001,1000))' --trials 24 --batch 4
  bench search evaluation=portfolio 'windows.step=choice(20,40,60)' --metric information_ratio --trials 6

exit codes: 0 a best trial is found, 1 a trial crashed, 2 a mistake in the command or the data, or no trial has a value,
130 interrupted, 143 by SIGTERM, 129 by SIGHUP (the finished trials are printed)"""
_INTERRUPTED = 130


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(groups, "search", "search hyper-parameters on the validation period, never on test", _HELP)
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="how many trials (default: 20)")
    parser.add_argument("--metric", default="rank_IC", help="what is searched for (default: rank_IC)")
    parser.add_argument(
        "--direction", choices=("minimize", "maximize"), help="which way the metric is better (default: as it is known)"
    )
    parser.add_argument("--seed", type=int, default=43, metavar="S", help="of the sampler (default: 43)")
    parser.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="how many trials are asked for, and run, together (default: 1)",
    )
    parser.add_argument("--storage", type=Path, metavar="FILE", help="a SQLite file that keeps the trials, to resume")
    parser.add_argument("--json", action="store_true", help="print the trials as JSON instead of a table")
    parser.set_defaults(command=run_search)


def run_search(arguments: Arguments, out: Console, err: Console) -> int:
    """Search, print the trials, and say with the exit code how it ended."""
    request = SearchRequest(
        overrides=tuple(arguments.overrides),
        trials=arguments.trials,
        metric=arguments.metric,
        direction=arguments.direction,
        seed=arguments.seed,
        batch=arguments.batch,
        storage=arguments.storage,
        search_path=tuple(Path(folder) for folder in arguments.config_dir),
    )
    with ProgressObserver(err) as observer:

        def tell(trial: TrialResult) -> None:
            if trial.reason is not None:
                observer.notice(f"{trial.name}: {trial.outcome}: {trial.reason}")

        found = search(request, observer, tell)
    if arguments.json:
        out.print(found.to_json(), markup=False, soft_wrap=True, end="")
    else:
        _show(found, out)
    if found.interrupted:
        err.print("bench: interrupted; finished trials are kept, run the same command to resume.", style="yellow")
        return _INTERRUPTED
    if found.best is None:
        return 2
    return 1 if any(trial.outcome is Outcome.FAILED for trial in found.trials) else 0


def _show(found: SearchResult, out: Console) -> None:
    show(out, _table(found))
    first, last = found.period.judged
    out.print(
        f"judged    {first} … {last}; the final test range begins on {found.period.decision}\n"
        f"record    {found.folder / 'search.json'}\n"
        f"test it   {found.command or 'no trial has a value'}",
        markup=False,
        soft_wrap=True,
    )


def _table(found: SearchResult) -> Table:
    name = found.request.metric
    # What an objective of one's own is called is its heading.
    metric = METRICS.get(name, MetricRecord(name, name, "none", name, digits=None))
    rows = []
    for trial in found.ranked:
        style = "bold green" if trial is found.best else ""
        note = "" if trial.reason is None else f"\n{trial.outcome}: {(trial.reason.splitlines() or [''])[0]}"
        rows.append((str(trial.number), f"{trial.name}{note}", TableCell(metric.text(trial.value), style=style)))
    title = f"{len(found.trials)} trials, {found.direction} {metric.heading} on the validation period"
    return table(title, ("trial", *prose("values"), *numbers(metric.heading)), rows)

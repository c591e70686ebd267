"""`bench run`: one experiment, or with ``-m`` every combination of swept values; `bench search`."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.audit import Verdict, run_audited
from harness.cli import tables
from harness.cli.audit import verdict_table
from harness.cli.explain import config_of
from harness.cli.progress import Progressing, progress
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.cli.terminal import show
from harness.config import ExperimentConfig, composed_yaml
from harness.errors import ConfigError, closest
from harness.evaluation.metrics import METRICS, MetricRecord, metrics_of
from harness.execution.machine import peak_memory_mb
from harness.execution.progress import TimeLeft, telling
from harness.report.leaderboard import leaderboard, write_leaderboard
from harness.report.table import Table, TableCell, numbers, prose, table
from harness.run.dispatch import Dispatched
from harness.run.experiment import ExperimentResult
from harness.run.search import trials as searching
from harness.run.sweep import Cell, Outcome, exit_code, plan_cells, plan_sweep, run_sweep
from harness.run.sweep_columns import caption
from harness.run.sweep_statistics import check_reference, statistics_of
from harness.snapshots.provenance import Cost

RunOne = Callable[[ExperimentConfig], tuple[ExperimentResult, Verdict | None]]
_CELLS = "cells"
_LEAST_FITTED = 0.5  # share of its windows; a cell that has fitted fewer does not say how long one takes
_INTERRUPTED = 130


def run(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    meter = Meter()
    if arguments.cfg:
        out.write_document(composed_yaml(arguments.overrides, search_path=arguments.config_dir))
        return 0
    if arguments.multirun:
        return _sweep(arguments, out, err, meter)
    with progress(err) as observer:
        with telling(observer, "configuration"):
            config = config_of(arguments)
        config.tracking.check()
        result, verdict = _runner([config], observer)(config)
        config.tracking.send([result.folder], Path(config.output.runs), observer)
    result = replace(result, cost=meter.cost([result]))
    is_clean = verdict is None or verdict.clean
    if arguments.json:
        out.write_json({"folder": str(result.folder), "snapshot": json.loads(result.snapshot.to_json())})
    else:
        show(out, tables.result_table(result))
        out.write(tables.result_summary(result))
        if verdict is not None:
            out.write(f"audit     {verdict.summary}")
            if not is_clean:
                show(out, verdict_table(verdict))
    return 0 if is_clean else 1


def _sweep(arguments: Namespace, out: OutputConsole, err: ErrorConsole, meter: Meter) -> int:
    with progress(err) as observer, telling(observer, "configuration"):
        cells = plan_sweep(arguments.overrides, search_path=arguments.config_dir)
    configs, metric = [cell.config for cell in cells if cell.config is not None], arguments.sort_by
    known = metrics_of(*(config.evaluation.extra for config in configs)).values()
    columns = [record.name for record in known if record.column]
    if metric not in columns:
        what, expected = "There is no such metric.", ", ".join(columns)
        raise ConfigError(what, where="--sort-by", got=metric, expected=expected, hint=closest(metric, columns))
    check_reference(arguments.reference, [cell.name for cell in cells])
    if arguments.plan:
        with progress(err) as observer:
            planned, stages = plan_cells(cells, observer)
        for plan in tables.plan_tables(planned, stages):
            show(out, plan)
        return exit_code(plan.cell.outcome for plan in planned)
    if configs:
        configs[0].tracking.check()
    with progress(err) as observer:
        run_one = _runner(configs, observer)

        def audited(config: ExperimentConfig) -> ExperimentResult:
            result, verdict = run_one(config)
            if verdict is not None and not verdict.clean:
                observer.notice(f"{config.case_name}: {verdict.summary}")
            return result

        cell_progress = CellProgress(cells, observer)
        ended = run_sweep(cells, audited, cell_progress.ended)
        observer.finish(_CELLS)
        statistics = statistics_of(ended, metric, arguments.reference, observer)
    board = leaderboard(ended, sort_by=metric, statistics=statistics, reference=arguments.reference)
    runs = Path(configs[0].output.runs if configs else "runs")
    folder = write_leaderboard(board, ended, runs)
    if configs:
        with progress(err) as observer:
            configs[0].tracking.send([folder], runs, observer)
    results = [cell.result for cell in ended if cell.result is not None]
    if arguments.json:
        out.write_document(board.to_json())
    else:
        show(out, board.table())
        if statistics is not None:
            out.write(caption(statistics))
        cost = f"cost      {tables.cost_text(meter.cost(results))}"
        out.write("\n".join([cost, f"table     {folder / 'leaderboard.csv'}", *tables.sweep_notes(ended)]))
    has_leak = any(result.snapshot.leak is not None for result in results)
    return 1 if has_leak else exit_code(cell.outcome for cell in ended)


def _runner(configs: Sequence[ExperimentConfig], observer: Progressing) -> RunOne:
    """Let the executor's workers prepare all experiments, and return what then runs each of them."""
    dispatched = Dispatched(configs, observer)

    def run_one(config: ExperimentConfig) -> tuple[ExperimentResult, Verdict | None]:
        done = dispatched.work_of(config)
        result, verdict = run_audited(config, observer, dispatched.cache_of(config))
        if done is None:
            return result, verdict
        own, memory = result.cost, max(result.cost.memory_mb, done.memory_mb)
        cost = replace(own, cpu=own.cpu + done.cpu, worker_cpu=done.cpu, workers=done.workers, memory_mb=memory)
        cost = replace(cost, stored=max(own.stored - done.fitted, 0))
        return replace(result, reused=False, seconds_elsewhere=done.seconds, cost=cost), verdict

    return run_one


@dataclass(frozen=True)
class Meter:
    """Wall time and processor time of this process since it was made."""

    began: float = field(default_factory=time.perf_counter)
    used: float = field(default_factory=time.process_time)

    def cost(self, results: Sequence[ExperimentResult]) -> Cost:
        costs = [result.cost for result in results]
        elsewhere = sum(cost.worker_cpu for cost in costs)
        return Cost(
            wall=time.perf_counter() - self.began,
            cpu=time.process_time() - self.used + elsewhere,
            windows=sum(cost.windows for cost in costs),
            stored=sum(cost.stored for cost in costs),
            workers=max((cost.workers for cost in costs), default=0),
            worker_cpu=elsewhere,
            memory_mb=max([peak_memory_mb(), *(cost.memory_mb for cost in costs)]),
        )


class CellProgress:
    """Reports each cell that has ended, and how long the others will take, as the stage ``cells``.

    What a cell takes is learned from cells of the same data, model and adaptation that were computed. One that the
    store held, in whole or for the most part, says nothing about the others; nor does one that was refused or failed.
    """

    def __init__(self, cells: Sequence[Cell], observer: Progressing) -> None:
        self._observer, self._count, self._left = observer, len(cells), TimeLeft()
        for cell in cells:
            self._left.expect(_kind(cell), cell.config is not None)
        observer.start(_CELLS, self._count)

    def ended(self, now: Cell) -> None:
        result = now.result
        if now.reason is not None:
            self._observer.notice(f"{now.name}: {now.outcome}: {now.reason}")
        self._left.expect(_kind(now), -(now.config is not None))
        is_stored = result is not None and result.reused
        if result is not None and not is_stored:
            computed = result.cost.windows - result.cost.stored
            # What workers have made is there for all cells, and the others will take as long as this one here.
            if result.seconds_elsewhere is not None or computed >= _LEAST_FITTED * result.cost.windows:
                self._left.measured(_kind(now), now.seconds - (result.seconds_elsewhere or 0.0))
        seconds, at_least = self._left.seconds(alike=True)
        self._observer.estimate(_CELLS, self._count, seconds, at_least=at_least)
        how = "from the store" if is_stored else f"{now.seconds:.1f} s of work"
        self._observer.advance(_CELLS, note=f"{now.name}: {now.outcome}, {how}")


def _kind(cell: Cell) -> tuple[str, ...]:
    choices = {} if cell.config is None else cell.config.choices
    return tuple(choices.get(group, "") for group in ("data", "model", "adaptation"))


def search(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
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
    with progress(err) as observer:

        def report(trial: searching.TrialResult) -> None:
            if trial.reason is not None:
                observer.notice(f"{trial.name}: {trial.outcome}: {trial.reason}")

        found = searching.search(request, observer, report)
    if arguments.json:
        out.write_document(found.to_json())
    else:
        first, last = found.period.judged
        show(out, _trials_table(found))
        out.write(
            f"judged    {first} … {last}; the final test range begins on {found.period.decision}\n"
            f"record    {found.folder / 'search.json'}\ntest it   {found.command or 'no trial has a value'}"
        )
    if found.interrupted:
        err.write("bench: interrupted; finished trials are kept, run the same command to resume.", "yellow")
        return _INTERRUPTED
    if found.best is None:
        return 2
    return 1 if any(trial.outcome is Outcome.FAILED for trial in found.trials) else 0


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

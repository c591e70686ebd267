"""`bench run`: one experiment, or with ``-m`` every combination of swept values."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from harness.audit import Verdict, run_audited
from harness.cli import tables
from harness.cli.audit import verdict_table
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, config_of
from harness.cli.sweep_progress import CellProgress, Meter
from harness.cli.terminal import show
from harness.config import ExperimentConfig, composed_yaml
from harness.errors import ConfigError, closest
from harness.evaluation.metrics import metrics_of
from harness.execution.progress import telling
from harness.execution.task import Serial
from harness.report.leaderboard import leaderboard, write_leaderboard
from harness.run.experiment import ExperimentResult
from harness.run.fill import Filled, WorkersLostError, fill
from harness.run.sweep import exit_code, plan_cells, plan_sweep, run_sweep
from harness.run.sweep_columns import caption
from harness.run.sweep_statistics import check_reference, statistics_of
from harness.store.artifacts import Shelf, canonical_json

RunOne = Callable[[ExperimentConfig], tuple[ExperimentResult, Verdict | None]]


def run(arguments: Arguments, out: Console, err: Console) -> int:
    """Run one experiment, print its table and where the snapshot lies."""
    meter = Meter()
    if arguments.cfg:
        out.print(composed_yaml(arguments.overrides, search_path=arguments.config_dir), markup=False, end="")
        return 0
    if arguments.multirun:
        return sweep(arguments, out, err)
    with ProgressObserver(err) as observer:
        with telling(observer, "configuration"):
            config = config_of(arguments)
        config.tracking.check()
        run_one = _runner([config], observer)
        result, verdict = run_one(config)
        config.tracking.send([result.folder], Path(config.output.runs), observer)
    result = result.costing(meter.cost([result]))
    code = 0 if verdict is None or verdict.clean else 1
    if arguments.json:
        record = {"folder": str(result.folder), "snapshot": json.loads(result.snapshot.to_json())}
        out.print(canonical_json(record, indent=1), markup=False, soft_wrap=True, end="")
        return code
    show(out, tables.result_table(result))
    out.print(tables.result_summary(result), markup=False, soft_wrap=True)
    if verdict is not None:
        out.print(f"audit     {verdict.summary}", markup=False, soft_wrap=True)
        if not verdict.clean:
            show(out, verdict_table(verdict))
    return code


def sweep(arguments: Arguments, out: Console, err: Console) -> int:
    """Run every cell of a sweep, print one table, and say with the exit code whether anything failed."""
    meter = Meter()
    with ProgressObserver(err) as observer, telling(observer, "configuration"):
        cells = plan_sweep(arguments.overrides, search_path=arguments.config_dir)
    _check_metric(arguments.sort_by, [cell.config for cell in cells if cell.config is not None])
    check_reference(arguments.reference, [cell.name for cell in cells])
    if arguments.plan:
        with ProgressObserver(err) as observer:
            planned = plan_cells(cells, observer)
        for table in tables.plan_tables(planned):
            show(out, table)
        return exit_code(cell.outcome for cell in planned.cells)
    tracking = next((cell.config.tracking for cell in cells if cell.config is not None), None)
    if tracking is not None:
        tracking.check()
    with ProgressObserver(err) as observer:
        run_one = _runner([cell.config for cell in cells if cell.config is not None], observer)
        progress = CellProgress(cells, observer)
        ended = run_sweep(cells, lambda config: _audited(config, run_one, observer), progress.tell)
        progress.finish()
        statistics = statistics_of(ended, arguments.sort_by, arguments.reference, observer)
    board = leaderboard(ended, sort_by=arguments.sort_by, statistics=statistics, reference=arguments.reference)
    runs = next((Path(cell.config.output.runs) for cell in cells if cell.config is not None), Path("runs"))
    folder = write_leaderboard(board, ended, runs)
    if tracking is not None:
        with ProgressObserver(err) as observer:
            tracking.send([folder], runs, observer)
    if arguments.json:
        out.print(board.to_json(), markup=False, soft_wrap=True, end="")
    else:
        show(out, board.table())
        if statistics is not None:
            out.print(caption(statistics), markup=False, soft_wrap=True)
        cost = meter.cost([one.result for one in ended if one.result is not None])
        out.print(f"cost      {tables.cost_text(cost)}", markup=False, soft_wrap=True)
        out.print(f"table     {folder / 'leaderboard.csv'}", markup=False, soft_wrap=True)
        for line in tables.sweep_notes(ended):
            out.print(line, markup=False, soft_wrap=True)
    leaks = any(e.result is not None and e.result.snapshot.leak is not None for e in ended)
    return 1 if leaks else exit_code(e.outcome for e in ended)


def _check_metric(metric: str, configs: Sequence[ExperimentConfig]) -> None:
    known = metrics_of(*(config.evaluation.extra for config in configs)).values()
    columns = [record.name for record in known if record.column]
    if metric not in columns:
        raise ConfigError(
            "There is no such metric.",
            where="--sort-by",
            got=metric,
            expected=", ".join(columns),
            hint=closest(metric, columns),
        )


def _runner(configs: Sequence[ExperimentConfig], observer: ProgressObserver) -> RunOne:
    """Let the executor's workers prepare all experiments, and return what then runs each of them."""
    executor = configs[0].executor if configs else Serial()
    shelf, shared = Shelf(), not isinstance(executor, Serial)
    filled = {id(configs[at]): done for at, done in fill(configs, executor, observer, shelf).items()}

    def run_one(config: ExperimentConfig) -> tuple[ExperimentResult, Verdict | None]:
        done = filled.get(id(config))
        if done is not None and done.lost is not None:
            raise WorkersLostError(f"{config.case_name}: {done.lost}")
        result, verdict = run_audited(config, observer, shelf=shelf, shared=shared)
        return result if done is None else _with_work_of(done, result), verdict

    return run_one


def _with_work_of(done: Filled, result: ExperimentResult) -> ExperimentResult:
    """Return a result that workers have prepared, with what that took."""
    own = result.cost
    cost = replace(
        own,
        cpu=own.cpu + done.cpu,
        worker_cpu=done.cpu,
        stored=max(own.stored - done.fitted, 0),
        workers=done.workers,
        memory_mb=max(own.memory_mb, done.memory_mb),
    )
    return result.made_elsewhere(done.seconds, cost)


def _audited(config: ExperimentConfig, run_one: RunOne, observer: ProgressObserver) -> ExperimentResult:
    """Run one cell; a leak that its audit finds is told at once, and stands in its snapshot."""
    result, verdict = run_one(config)
    if verdict is not None and not verdict.clean:
        observer.notice(f"{config.case_name}: {verdict.summary}")
    return result

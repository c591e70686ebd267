"""`bench run`: one experiment, or with ``-m`` every combination of swept values."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from harness.artifacts import canonical_json
from harness.audit import Verdict, run_audited
from harness.cli import tables
from harness.cli.audit import verdict_table
from harness.cli.grid import show
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, config_of
from harness.config import ExperimentConfig, composed_yaml
from harness.errors import ConfigError, closest
from harness.evaluation import COLUMNS
from harness.execution import Serial
from harness.experiment import ExperimentResult
from harness.fill import WorkersLostError, fill
from harness.leaderboard import leaderboard, write_leaderboard
from harness.shelf import Shelf
from harness.sweep import Cell, CellResult, exit_code, plan_sweep, run_sweep
from harness.sweep_plan import plan_cells
from harness.sweep_statistics import caption, check_reference, statistics_of
from harness.time_left import TimeLeft

__all__ = ["run", "sweep"]

RunOne = Callable[[ExperimentConfig], tuple[ExperimentResult, Verdict | None]]


def run(arguments: Arguments, out: Console, err: Console) -> int:
    """Run one experiment, print its table and where the snapshot lies."""
    if arguments.cfg:
        out.print(composed_yaml(arguments.overrides, search_path=arguments.config_dir), markup=False, end="")
        return 0
    if arguments.multirun:
        return sweep(arguments, out, err)
    config = config_of(arguments)
    config.tracking.check()
    with ProgressObserver(err) as observer:
        run_one = _runner([config], observer)
        result, verdict = run_one(config)
        config.tracking.send([result.folder], Path(config.output.runs), observer)
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
    _check_metric(arguments.sort_by)
    cells = plan_sweep(arguments.overrides, search_path=arguments.config_dir)
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
        observer.start("cells", len(cells))
        left = TimeLeft()
        for cell in cells:
            left.expect(_kind(cell))

        def tell(ended: CellResult) -> None:
            observer.advance("cells")
            left.expect(_kind(ended.cell), -1)
            left.measured(_kind(ended.cell), ended.seconds)
            seconds, at_least = left.seconds()
            observer.estimate("cells", len(cells), seconds, at_least=at_least)
            if ended.reason is not None:
                observer.notice(f"{ended.cell.name}: {ended.outcome}: {ended.reason}")

        ended = run_sweep(cells, lambda config: _audited(config, run_one, observer), tell)
        observer.finish("cells")
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
        show(out, tables.leaderboard_table(board))
        if statistics is not None:
            out.print(caption(statistics), markup=False, soft_wrap=True)
        out.print(f"table     {folder / 'leaderboard.csv'}", markup=False, soft_wrap=True)
        for line in tables.sweep_notes(ended):
            out.print(line, markup=False, soft_wrap=True)
    leaks = any(e.result is not None and e.result.snapshot.leak is not None for e in ended)
    return 1 if leaks else exit_code(e.outcome for e in ended)


def _check_metric(metric: str) -> None:
    if metric not in COLUMNS:
        raise ConfigError(
            "There is no such metric.",
            where="--sort-by",
            got=metric,
            expected=", ".join(COLUMNS),
            hint=closest(metric, COLUMNS),
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
        return result if done is None else result.made_elsewhere(done.seconds), verdict

    return run_one


def _kind(cell: Cell) -> tuple[str, ...]:
    """Return what decides how long a cell takes, roughly."""
    choices = {} if cell.config is None else cell.config.choices
    return tuple(choices.get(group, "") for group in ("data", "model", "adaptation"))


def _audited(config: ExperimentConfig, run_one: RunOne, observer: ProgressObserver) -> ExperimentResult:
    """Run one cell; a leak that its audit finds is told at once, and stands in its snapshot."""
    result, verdict = run_one(config)
    if verdict is not None and not verdict.clean:
        observer.notice(f"{config.case_name}: {verdict.summary}")
    return result

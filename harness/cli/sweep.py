"""What `bench run -m` answers: the cells that it would run, or the ranked table of those that it ran."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import cast

from harness.cli.cost import cost_of, cost_text
from harness.cli.declaration import Answer
from harness.cli.hydra_application import Application, returns_of
from harness.cli.search import search_answer
from harness.config.loader import JobComposer, Loader, given_overrides
from harness.errors import ConfigError
from harness.execution.progress import PlainObserver, telling
from harness.report.leaderboard import RankedSweep, ordering_metric
from harness.report.table import Table, numbers, prose, table
from harness.run.search.trials import SearchResult
from harness.run.sweep import Cell, CellPlan, exit_code, plan_cells, plan_sweep
from harness.run.sweep_columns import caption, cell_notes
from harness.run.sweep_statistics import check_reference


def sweep(
    application: Application, arguments: Namespace, observer: PlainObserver, since: tuple[float, float]
) -> Answer:
    if arguments.plan:
        return _plan(application, observer)
    found = application.sweep()
    if isinstance(found, RankedSweep):
        return _swept(found, since)
    if isinstance(found, SearchResult):
        return search_answer(found)
    return _launched(found)


def cells_of(application: Application) -> tuple[Cell, ...]:
    """Return the cells of a sweep, planned; raises `ConfigError` for a sweeper that plans none."""
    tree = application.tree
    sweeper = tree.hydra.sweeper
    if "sort_by" not in sweeper:
        what, got = "This sweeper does not say what it will run.", tree.hydra.runtime.choices["hydra/sweeper"]
        raise ConfigError(what, where="--plan", got=got, expected="hydra/sweeper=bench")
    cells = plan_sweep(given_overrides(tree), compose=JobComposer(cast("Loader", application.loader), tree))
    ordering_metric(cells, sweeper.sort_by)
    check_reference(sweeper.reference, [cell.name for cell in cells])
    return cells


def _plan(application: Application, observer: PlainObserver) -> Answer:
    with telling(observer, "configuration"):
        cells = cells_of(application)
    planned, stages = plan_cells(cells, observer)
    return Answer(plan_tables(planned, stages), code=exit_code(plan.cell.outcome for plan in planned))


def _swept(found: RankedSweep, since: tuple[float, float]) -> Answer:
    board, ended = found.board, found.cells
    done = [(cell.name, cell.result) for cell in ended if cell.result is not None]
    cost = cost_of(since, [result for _, result in done])
    shown: list[Table | str] = [board.table(), *([] if board.statistics is None else [caption(board.statistics)])]
    shown += [f"cost      {cost_text(cost)}", f"table     {found.folder / 'leaderboard.csv'}"]
    shown += [f"note      {line}" for line in cell_notes((name, result.notes) for name, result in done)]
    has_leak = any(result.snapshot.leak is not None for _, result in done)
    return Answer(shown, board.to_json(), 1 if has_leak else exit_code(cell.outcome for cell in ended))


def _launched(found: object) -> Answer:
    """Return what a sweeper of somebody else's has launched: where each job's result lies."""
    lines = [f"{' '.join(job.overrides or ())}: {job.return_value['folder']}" for job in returns_of(found)]
    return Answer(lines or ["the sweeper has ended"], lines)


def plan_tables(plans: Sequence[CellPlan], stages: Mapping[str, tuple[int, int]]) -> tuple[Table, Table]:
    """Return the cells that a sweep would run, why some are refused, and what they share or have in the store."""
    rows = []
    for planned in plans:
        known = "" if planned.stored is None else f", {planned.stored} of its windows are stored"
        what = "stored" if planned.finished else f"run{known}"
        text = what if planned.cell.reason is None else f"{planned.cell.outcome}: {planned.cell.reason}"
        rows.append((planned.cell.name, str(planned.windows or "–"), text))
    cells = table(f"{len(plans)} cells", ("cell", *numbers("windows"), *prose("plan")), rows)
    counts = ((stage, str(count), str(held)) for stage, (count, held) in stages.items())
    return cells, table("stages", ("stage", *numbers("different ones", "stored")), counts)

"""`bench run`: one experiment, or with ``-m`` every combination of swept values; `bench search`, `bench audit`."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.text import Text

from harness.audit import Frontier, LeakCost, Level, Verdict, audit, leak_costs
from harness.audit import Outcome as AuditOutcome
from harness.cli.declaration import Answer
from harness.cli.explain import config_of
from harness.cli.hydra_application import Application, returns_of
from harness.errors import ConfigError
from harness.evaluation.metrics import METRICS, MetricRecord, columns_of, metrics_of, other_forecasters
from harness.evaluation.significance.hac import why_untested
from harness.execution.machine import peak_memory_mb
from harness.execution.progress import PlainObserver, telling
from harness.report.leaderboard import RankedSweep
from harness.report.table import Table, TableCell, metric_cell, metric_columns, numbers, prose, table
from harness.run.experiment import ExperimentResult
from harness.run.search import trials as searching
from harness.run.sweep import CellPlan, Outcome, exit_code, plan_cells
from harness.run.sweep_columns import caption, cell_notes
from harness.snapshots.provenance import Cost

_INTERRUPTED = 130
_STYLES = {AuditOutcome.PASSED: "green", AuditOutcome.LEAK: "bold red", AuditOutcome.SKIPPED: "yellow"}


def run(arguments: Namespace, observer: PlainObserver) -> Answer:
    since = time.perf_counter(), time.process_time()
    with Application(arguments, observer) as application:
        if (text := application.shown()) is not None:
            return Answer(record=text)
        if not application.is_sweep:
            return _experiment(application, since)
        if arguments.plan:
            return _plan(application, observer)
        found = application.sweep()
    if isinstance(found, RankedSweep):
        return _swept(found, since)
    if isinstance(found, searching.SearchResult):
        return search_answer(found)
    return _launched(found)


def _experiment(application: Application, since: tuple[float, float]) -> Answer:
    result, verdict = application.run()
    result = replace(result, cost=_cost(since, [result]))
    shown: list[Table | str] = [result_table(result), *result_lines(result)]
    if verdict is not None:
        shown += [f"audit     {verdict.summary}", *([] if verdict.clean else [verdict_table(verdict)])]
    return Answer(shown, partial(_record, result), int(verdict is not None and not verdict.clean))


def _record(result: ExperimentResult) -> dict[str, object]:
    time, scores = result.predictions().newest()
    newest = {"time": time, "scores": [{"instrument": name, "score": score} for name, score in scores]}
    return {"folder": str(result.folder), "snapshot": json.loads(result.snapshot.to_json()), "newest": newest}


def _plan(application: Application, observer: PlainObserver) -> Answer:
    with telling(observer, "configuration"):
        cells = application.cells()
    planned, stages = plan_cells(cells, observer)
    return Answer(plan_tables(planned, stages), code=exit_code(plan.cell.outcome for plan in planned))


def _swept(found: RankedSweep, since: tuple[float, float]) -> Answer:
    board, ended = found.board, found.cells
    done = [(cell.name, cell.result) for cell in ended if cell.result is not None]
    cost = _cost(since, [result for _, result in done])
    shown: list[Table | str] = [board.table(), *([] if board.statistics is None else [caption(board.statistics)])]
    shown += [f"cost      {_cost_text(cost)}", f"table     {found.folder / 'leaderboard.csv'}"]
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


def _cost(since: tuple[float, float], results: Sequence[ExperimentResult]) -> Cost:
    """Return what this process has taken since a wall time and a processor time of it, and its workers for results."""
    costs = [result.cost for result in results]
    elsewhere = sum(cost.worker_cpu for cost in costs)
    return Cost(
        wall=time.perf_counter() - since[0],
        cpu=time.process_time() - since[1] + elsewhere,
        windows=sum(cost.windows for cost in costs),
        stored=sum(cost.stored for cost in costs),
        workers=max((cost.workers for cost in costs), default=0),
        worker_cpu=elsewhere,
        memory_mb=max([peak_memory_mb(), *(cost.memory_mb for cost in costs)]),
    )


def _cost_text(cost: Cost) -> str:
    workers = "" if cost.workers == 0 else f" on {cost.workers} worker{'s' * (cost.workers > 1)}"
    stored = f"{cost.stored:,} of {cost.windows:,} windows from the store"
    memory = f"peak memory {round(cost.memory_mb):,} MB"
    return f"wall {cost.wall:.1f} s, CPU {cost.cpu:.1f} s{workers}, {stored}, {memory}"


def result_table(result: ExperimentResult) -> Table:
    """Return one row of metrics per forecaster: the run with its intervals, and the simulator's oracle if there is one.

    A symmetric interval is printed as what it reaches to both sides, another as its bounds.
    """
    own, oracle = result.metrics, result.oracle
    metrics = columns_of(metrics_of(result.snapshot.identity), (own, oracle or {})).values()
    name = f"{result.config.choices['adaptation']} / {result.config.choices['model']}"
    rows = [(TableCell(name), *(metric_cell(m, own.get(m.name)) for m in metrics))]
    if result.intervals is not None:
        reach = [m.interval(own.get(m.name), result.intervals.get(m.name)) or "–" for m in metrics]
        rows.append((TableCell("  interval"), *map(TableCell, reach)))
    for other, values in other_forecasters(result.snapshot.metrics).items():
        rows.append((TableCell(other), *(metric_cell(m, values.get(m.name)) for m in metrics)))
    title = f"{result.snapshot.identity['data']['name']}, {len(result.windows)} windows"
    return table(title, ("forecaster", *metric_columns(metrics)), rows)


def result_lines(result: ExperimentResult) -> Iterator[str]:
    """Yield what the metrics are of, what they are worth, what they have cost, and where they are."""
    identity, metrics = result.snapshot.identity, result.metrics
    first, last, year = identity["windows"][0], identity["windows"][-1], identity["year"]
    lacking = ""
    ranked = "IC" in metrics
    if ranked and metrics["undefined_days"]:  # of labels that are not known yet, or where nothing varies
        times = "days" if "daily" in year["source"] else "periods"
        lacking = f"; {metrics['undefined_days']:,} of {metrics['days']:,} test {times} have no defined IC"
    yield f"test      {first['test'][0]} … {last['test'][1]}, {metrics['rows']:,} predictions{lacking}"
    if any(metric.scale != "none" for name, metric in METRICS.items() if name in metrics):
        yield f"a year    {year['periods']:,} periods ({year['source']})"
    if result.intervals is not None and ranked:
        yield f"evidence  {result.intervals['IC']['level']:.0%} intervals; {_evidence(result, result.intervals)}"
    yield f"cost      {_cost_text(result.cost)}"
    yield f"snapshot  {result.folder / 'snapshot.json'}"
    yield from (f"note      {note}" for note in result.notes)


def _evidence(result: ExperimentResult, intervals: Mapping[str, Any]) -> str:
    """Return the tests of the mean ICs, or why there is none."""
    tests = {METRICS[name].heading: intervals[name] for name in ("IC", "rank_IC")}
    if all(test["p"] is None for test in tests.values()):
        defined = result.metrics["days"] - result.metrics["undefined_days"]
        return f"no t-value of the mean IC: {why_untested(defined, result.snapshot.identity['look_ahead'])}"
    values = (
        f"{heading} t = " + ("–" if test["p"] is None else f"{test['t']:.2f} (p = {test['p']:.3f})")
        for heading, test in tests.items()
    )
    return f"{', '.join(values)}, allowing for labels that overlap"


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


def audit_configuration(arguments: Namespace, observer: PlainObserver) -> Answer:
    config, level = config_of(arguments), Level(arguments.level)
    if arguments.cuts is not None and (arguments.cuts < 1 or level is not Level.FULL):
        what, got = "Decisions are chosen for a full audit.", f"{arguments.cuts} with --level {level}"
        raise ConfigError(what, where="--cuts", got=got, expected="at least 1, with --level full")
    began = time.perf_counter()
    verdict = audit(config, level, observer, cuts=arguments.cuts)
    costs = leak_costs(config, observer) if arguments.price else ()
    shown = [verdict_table(verdict)]
    if any(at.perturbed for at in verdict.frontiers):
        shown.append(frontier_table(verdict.frontiers))
    if costs:
        shown.append(cost_table(costs, metrics_of(config.evaluation.extra)))
    summary = Text(verdict.summary, "green" if verdict.clean else "bold red")
    cost = f"cost   {time.perf_counter() - began:.1f} s, peak memory {round(peak_memory_mb()):,} MB"
    record = {"verdict": verdict.to_record(), "prices": [asdict(cost) for cost in costs]}
    return Answer([*shown, summary, cost], record, int(not verdict.clean))


def verdict_table(verdict: Verdict) -> Table:
    rows = []
    for check in verdict.checks:
        lines = [check.question, *([f"({check.note})"] if check.note else [])]
        for finding in check.findings:
            details = [d for d in (finding.where, finding.got and f"got {finding.got}") if d]
            details += [f"expected {finding.expected}"] if finding.expected else []
            lines.append(f"· {finding.what}" + (f" {'; '.join(details)}" if details else ""))
        outcome = TableCell(str(check.outcome), style=_STYLES[check.outcome])
        rows.append((check.name, outcome, "\n".join(lines)))
    title = f"{verdict.case}, {verdict.level} audit" + (f": {verdict.subject}" if verdict.subject else "")
    return table(title, ("check", "outcome", *prose("question and findings")), rows)


def frontier_table(frontiers: Sequence[Frontier]) -> Table:
    rows = []
    for at in frontiers:
        unused = "–" if at.waste is None else f"{max(at.waste, 0)} periods"
        rows.append((str(at.window), at.decision, at.oldest or "none", at.newest or "none", unused))
    columns = ("window", "decision", "oldest", "newest", *numbers("unused before the purge"))
    return table("learning times that move a prediction", columns, rows)


def cost_table(costs: Sequence[LeakCost], known: Mapping[str, MetricRecord]) -> Table:
    metrics = [known[name] for name in costs[0].gained]
    rows = [("none: the clean run", *(metric.text(costs[0].clean[metric.name]) for metric in metrics))]
    for cost in costs:
        label = cost.leak if cost.refused is None else f"{cost.leak} (refused: {cost.refused})"
        rows.append((label, *(_gain(metric, cost.gained[metric.name]) for metric in metrics)))
    columns = ("leak", *numbers(*(f"Δ {metric.heading}" for metric in metrics)))
    per_year = "; returns per year" if any(metric.scale != "none" for metric in metrics) else ""
    return table(f"what a leak would add to the metrics{per_year}", columns, rows)


def _gain(metric: MetricRecord, value: float | None) -> str:
    return f"+{metric.text(value)}" if value is not None and value >= 0 else metric.text(value)

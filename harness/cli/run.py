"""`bench run`: one experiment; with ``-m`` every combination of swept values, see `harness.cli.sweep`."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from harness.cli.cost import cost_of, cost_text
from harness.cli.declaration import Answer
from harness.cli.hydra_application import Application
from harness.evaluation.metrics import METRICS, columns_of, metrics_of, other_forecasters
from harness.evaluation.significance.hac import why_untested
from harness.execution.progress import PlainObserver
from harness.report.table import Table, TableCell, metric_cell, metric_columns, table
from harness.run.experiment import ExperimentResult


def run(arguments: Namespace, observer: PlainObserver) -> Answer:
    since = time.perf_counter(), time.process_time()
    with Application(arguments, observer) as application:
        if (text := application.shown()) is not None:
            return Answer(record=text)
        if not application.is_sweep:
            return _experiment(application, since)
        from harness.cli.sweep import sweep  # what ranks many cells, and a run alone does not wait for

        return sweep(application, arguments, observer, since)


def _experiment(application: Application, since: tuple[float, float]) -> Answer:
    result, verdict = application.run()
    result = replace(result, cost=cost_of(since, [result]))
    shown: list[Table | str] = [result_table(result), *result_lines(result)]
    if verdict is not None:
        from harness.cli.audit import verdict_table  # audits are seldom

        shown += [f"audit     {verdict.summary}", *([] if verdict.clean else [verdict_table(verdict)])]
    return Answer(shown, partial(_record, result), int(verdict is not None and not verdict.clean))


def _record(result: ExperimentResult) -> dict[str, object]:
    time, scores = result.predictions().newest()
    newest = {"time": time, "scores": [{"instrument": name, "score": score} for name, score in scores]}
    return {"folder": str(result.folder), "snapshot": json.loads(result.snapshot.to_json()), "newest": newest}


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
    yield f"cost      {cost_text(result.cost)}"
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

"""`bench audit`: whether a configuration uses the future, and what a leak would be worth."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.text import Text

from harness.audit.audit import audit
from harness.audit.cost import LeakCost, leak_costs
from harness.audit.verdict import Frontier, Level, Outcome, Verdict
from harness.cli.composed import config_of
from harness.cli.declaration import Answer
from harness.errors import ConfigError
from harness.evaluation.metrics import MetricRecord, metrics_of
from harness.execution.machine import peak_memory_mb
from harness.execution.progress import PlainObserver
from harness.report.table import Table, TableCell, numbers, prose, table

_STYLES = {Outcome.PASSED: "green", Outcome.LEAK: "bold red", Outcome.SKIPPED: "yellow"}


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

"""`bench audit`: did anything use the future, and what would it have been worth."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console

from harness.audit import Frontier, Level, Outcome, Price, Verdict, audit, prices
from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands, add_command, config_of
from harness.cli.terminal import show
from harness.errors import ConfigError
from harness.evaluation.metrics import MetricRecord, metrics_of
from harness.execution.machine import peak_memory_mb
from harness.report.table import Table, TableCell, numbers, prose, table
from harness.store.artifacts import canonical_json

_HELP = """\
Audit an experiment: prove that no prediction used what was not known when it was made.

  static    what the finished run recorded: reads, borders, rows, labels. Free.
  sampled   also replaces the whole market after two decisions by another one: predictions made before must be the same
            bits, and those made after must know nothing of the real market. At most twice the run.
  full      also after every other decision, a second run, labels dealt at random, and which learning times are used.

It works on any model, adaptation or source, your own included.

examples:
  bench audit data=cn_csi300 model=lightgbm
  bench audit model=my_model --config-dir my_conf --level full
  bench audit adaptation=ddgda --level full --cuts 12      12 decisions, where every one would take too long
  bench audit --price                          also what six well-known leaks would add, and the adaptation's own

exit codes: 0 no leak, 1 a leak, 2 a mistake in the command or the data"""
_STYLES = {Outcome.PASSED: "green", Outcome.LEAK: "bold red", Outcome.SKIPPED: "yellow"}


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(groups, "audit", "prove that no prediction used the future", _HELP)
    levels = [str(level) for level in Level if level is not Level.NONE]
    parser.add_argument("--level", choices=levels, default=str(Level.SAMPLED), help="how thorough (default: sampled)")
    parser.add_argument(
        "--cuts",
        type=int,
        metavar="N",
        help="with --level full: look at N decisions, evenly spread (default: at every one)",
    )
    parser.add_argument(
        "--price", action="store_true", help="run leaky twins and print what each leak would add to IC and return"
    )
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON instead of tables")
    parser.set_defaults(command=audit_command)


def audit_command(arguments: Arguments, out: Console, err: Console) -> int:
    """Audit one configuration, print the verdict, and say with the exit code whether there is a leak."""
    config, level = config_of(arguments), Level(arguments.level)
    if arguments.cuts is not None and (arguments.cuts < 1 or level is not Level.FULL):
        raise ConfigError(
            "Decisions are chosen for a full audit.",
            where="--cuts",
            got=f"{arguments.cuts} with --level {level}",
            expected="at least 1, with --level full",
        )
    began = time.perf_counter()
    with ProgressObserver(err) as observer:
        verdict = audit(config, level, observer, cuts=arguments.cuts)
        priced = prices(config, observer) if arguments.price else ()
    if arguments.json:
        record = {"verdict": verdict.to_record(), "prices": [asdict(price) for price in priced]}
        out.print(canonical_json(record, indent=1), markup=False, soft_wrap=True, end="")
    else:
        show(out, verdict_table(verdict))
        if any(at.perturbed for at in verdict.frontiers):
            show(out, frontier_table(verdict.frontiers))
        if priced:
            show(out, price_table(priced, metrics_of(config.evaluation.extra)))
        out.print(verdict.summary, style="green" if verdict.clean else "bold red", markup=False, soft_wrap=True)
        cost = f"cost   {time.perf_counter() - began:.1f} s, peak memory {round(peak_memory_mb()):,} MB"
        out.print(cost, markup=False, soft_wrap=True)
    return 0 if verdict.clean else 1


def verdict_table(verdict: Verdict) -> Table:
    """Return one row per check, with what it found."""
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
    """Return one row per window: which learning times move its predictions."""
    rows = []
    for at in frontiers:
        unused = "–" if at.waste is None else f"{max(at.waste, 0)} periods"
        rows.append((str(at.window), at.decision, at.oldest or "none", at.newest or "none", unused))
    columns = ("window", "decision", "oldest", "newest", *numbers("unused before the purge"))
    return table("learning times that move a prediction", columns, rows)


def price_table(priced: Sequence[Price], known: Mapping[str, MetricRecord]) -> Table:
    """Return one row per leaky twin: what it gains over the clean run."""
    metrics = [known[name] for name in priced[0].gained]
    rows = [("none: the clean run", *(metric.text(priced[0].clean[metric.name]) for metric in metrics))]
    for price in priced:
        label = price.leak if price.refused is None else f"{price.leak} (refused: {price.refused})"
        rows.append((label, *(_gain(metric, price.gained[metric.name]) for metric in metrics)))
    columns = ("leak", *numbers(*(f"Δ {metric.heading}" for metric in metrics)))
    return table("what a leak would add to the metrics; returns per year", columns, rows)


def _gain(metric: MetricRecord, value: float | None) -> str:
    return f"+{metric.text(value)}" if value is not None and value >= 0 else metric.text(value)

"""Verdicts, versions and blessings as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.baseline import Version
from harness.compare import METRIC_COLUMNS, CaseVerdict, ExitCode, Verdict, metric_rows

__all__ = ["history_table", "metrics_table", "print_verdicts", "verdicts_table"]

_COLOURS = {ExitCode.FINE: "green", ExitCode.REGRESSION: "red", ExitCode.USER_ERROR: "red"}
_SHOWN = 12
_METRICS_SHOWN = 25


def print_verdicts(out: Console, verdicts: Sequence[CaseVerdict], *, all_metrics: bool = False) -> None:
    """Print one row per case, then what every case that is not the same has to say."""
    out.print(verdicts_table(verdicts))
    for verdict in verdicts:
        if all_metrics or verdict.verdict is not Verdict.SAME:
            _print_details(out, verdict, all_metrics)


def verdicts_table(verdicts: Sequence[CaseVerdict]) -> Table:
    """Return one row per case: what it was held to, by which rule, and what became of it."""
    table = Table(box=SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for name in ("case", "baseline", "rule", "verdict"):
        table.add_column(name)
    for name in ("findings", "seconds"):
        table.add_column(name, justify="right")
    for v in verdicts:
        said = v.verdict.value if v.problem is None else v.problem.value
        table.add_row(
            Text(f"{v.suite}/{v.case}"),
            Text(v.baseline or "–"),
            "–" if v.problem is not None else v.basis.value,
            Text(said, style=_colour(v)),
            str(len(v.identity) or len(v.findings)) if v.problem is None else "–",
            f"{v.seconds:.1f}" if v.problem is None else "–",
        )
    return table


def metrics_table(verdict: CaseVerdict, *, all_metrics: bool = False) -> Table:
    """Return the metrics that a person should look at, worst first, or every one."""
    rows = metric_rows(verdict, all_metrics=all_metrics)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for name in METRIC_COLUMNS:
        table.add_column(name, overflow="fold", justify="right" if name in METRIC_COLUMNS[1:4] else "left")
    shown = rows if all_metrics else rows[:_METRICS_SHOWN]
    for row in shown:
        table.add_row(*(Text(cell) for cell in row))
    if len(shown) < len(rows):
        table.caption = f"and {len(rows) - len(shown)} findings more: --all or --json shows them"
        table.caption_justify = "left"
    return table


def history_table(title: str, versions: Sequence[Version], changes: Sequence[str]) -> Table:
    """Return one row per blessed version, the newest first, with what it changed and why."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("version", "blessed", "commit"):
        table.add_column(name, no_wrap=True)
    for name in ("IC", "rank IC"):
        table.add_column(name, justify="right")
    table.add_column("changed", overflow="fold")
    table.add_column("reason", overflow="fold")
    for version, change in reversed(list(zip(versions, changes, strict=True))):
        overall = version.snapshot.metrics.get("overall", {})
        numbers = [overall.get(name) for name in ("IC", "rank_IC")]
        commit = str(version.snapshot.provenance.get("code", {}).get("commit") or "–")[:10]
        table.add_row(
            f"v{version.number}",
            version.time[:16].replace("T", " "),
            commit,
            *(f"{n:.4f}" if isinstance(n, int | float) else "–" for n in numbers),
            Text(change),
            Text(version.reason),
        )
    return table


def _print_details(out: Console, verdict: CaseVerdict, all_metrics: bool) -> None:
    sides = f"{verdict.baseline} → {verdict.candidate}: " if verdict.baseline is not None else ""
    heading = f"{verdict.suite}/{verdict.case}: {sides}{verdict.detail or verdict.basis_reason}"
    out.print(Text(heading, style="bold"), soft_wrap=True)
    for difference in verdict.identity[:_SHOWN]:
        out.print(Text(f"  {difference}"), soft_wrap=True)
    if len(verdict.identity) > _SHOWN:
        out.print(f"  and {len(verdict.identity) - _SHOWN} keys more: --json shows them", markup=False)
    for line in verdict.data:
        out.print(Text(f"  data: {line}"), soft_wrap=True)
    if verdict.identity and not all_metrics:
        out.print(metrics_table(verdict.only("overall."), all_metrics=True))
    elif verdict.metrics and (all_metrics or verdict.findings):
        out.print(metrics_table(verdict, all_metrics=all_metrics))


def _colour(verdict: CaseVerdict) -> str:
    if verdict.exit_code is ExitCode.FINE:
        return "green" if verdict.verdict in (Verdict.SAME, Verdict.WITHIN_TOLERANCE) else "yellow"
    return _COLOURS.get(verdict.exit_code, "magenta")

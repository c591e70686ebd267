"""Verdicts, versions and runs of cases as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.cli.terminal import show
from harness.evaluation.metrics import METRICS
from harness.report.check_output import identity_lines, metrics_table, verdicts_table
from harness.report.table import Table, TableCell, metric_cell, metric_columns, prose, table
from harness.snapshots.baseline import Version
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import CaseVerdict, Verdict

_HEADLINE = (METRICS["IC"], METRICS["rank_IC"])


def print_verdicts(out: Console, verdicts: Sequence[CaseVerdict], *, all_metrics: bool = False) -> None:
    show(out, verdicts_table(verdicts))
    for verdict in verdicts:
        if not all_metrics and verdict.verdict is Verdict.SAME:
            continue
        sides = f"{verdict.baseline} → {verdict.candidate}: " if verdict.baseline is not None else ""
        heading = f"{verdict.suite}/{verdict.case}: {sides}{verdict.detail or verdict.basis_reason}"
        out.print(Text(heading, style="bold"), soft_wrap=True)
        for line in identity_lines(verdict, hint=": --json shows them"):
            out.print(Text(f"  {line}"), soft_wrap=True)
        if verdict.identity and not all_metrics:
            overall = tuple(metric for metric in verdict.metrics if metric.path.startswith("overall."))
            show(out, metrics_table(replace(verdict, metrics=overall), all_metrics=True))
        elif verdict.metrics and (all_metrics or verdict.findings):
            show(out, metrics_table(verdict, all_metrics=all_metrics, hint=": --all or --json shows them"))


def history_table(title: str, versions: Sequence[Version], changes: Sequence[str]) -> Table:
    """Return one row per blessed version, the newest first, with what it changed and why."""
    rows: list[tuple[TableCell | str, ...]] = []
    for version, change in reversed(list(zip(versions, changes, strict=True))):
        origin = (_minute(version.time), _commit(version.snapshot.provenance.get("code")))
        rows.append((f"v{version.number}", *origin, *_headline(version.snapshot), change, version.reason))
    columns = ("version", "blessed", "commit", *metric_columns(_HEADLINE), *prose("changed", "reason"))
    return table(title, columns, rows)


def runs_table(title: str, runs: Sequence[tuple[Path, Snapshot]]) -> Table:
    """Return one row per run of a case, in the given order: its folder, when, by whose code, and the numbers."""
    rows: list[tuple[TableCell | str, ...]] = []
    for folder, snapshot in runs:
        made, user = snapshot.provenance, snapshot.provenance.get("user_code") or {}
        own = [str(user.get("digest", "–"))[:8], *(_commit(found) for found in user.get("repositories", ()))]
        origin = (_minute(str(made.get("created", "–"))), _commit(made.get("code")), ", ".join(own))
        rows.append((str(folder), *origin, *_headline(snapshot)))
    return table(title, ("run", "computed", "commit", "own code", *metric_columns(_HEADLINE)), rows)


def _headline(snapshot: Snapshot) -> list[TableCell]:
    return [metric_cell(metric, snapshot.overall.get(metric.name)) for metric in _HEADLINE]


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _commit(code: Mapping[str, Any] | None) -> str:
    found = code or {}
    return f"{str(found.get('commit') or '–')[:10]}{' +' if found.get('dirty') else ''}"

"""Verdicts, versions and blessings as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.cli.grid import Column, Grid, Row, show
from harness.evaluation.metrics import METRICS
from harness.report.check_output import METRIC_COLUMNS, metric_rows
from harness.snapshots.baseline import Version
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import CaseVerdict, ExitCode, Verdict

_COLOURS = {ExitCode.FINE: "green", ExitCode.REGRESSION: "red", ExitCode.USER_ERROR: "red"}
_SHOWN = 12
_METRICS_SHOWN = 25


def print_verdicts(out: Console, verdicts: Sequence[CaseVerdict], *, all_metrics: bool = False) -> None:
    """Print one row per case, then what every case that is not the same has to say."""
    show(out, verdicts_table(verdicts))
    for verdict in verdicts:
        if all_metrics or verdict.verdict is not Verdict.SAME:
            _print_details(out, verdict, all_metrics)


def verdicts_table(verdicts: Sequence[CaseVerdict]) -> Grid:
    """Return one row per case: what it was held to, by which rule, and what became of it."""
    rows = tuple(
        Row(
            f"{v.suite}/{v.case}",
            (
                v.baseline or "–",
                "–" if v.problem is not None else v.basis.value,
                Text(v.verdict.value if v.problem is None else v.problem.value, style=_colour(v)),
                str(len(v.identity) or len(v.findings)) if v.problem is None else "–",
                f"{v.seconds:.1f}" if v.problem is None else "–",
            ),
        )
        for v in verdicts
    )
    columns = (
        *map(Column, ("baseline", "rule", "verdict")),
        *(Column(h, numeric=True) for h in ("findings", "seconds")),
    )
    return Grid("", "case", columns, rows)


def metrics_table(verdict: CaseVerdict, *, all_metrics: bool = False) -> Grid:
    """Return the metrics that a person should look at, worst first, or every one."""
    rows = metric_rows(verdict, all_metrics=all_metrics)
    shown = rows if all_metrics else rows[:_METRICS_SHOWN]
    name, *heads = METRIC_COLUMNS
    columns = tuple(Column(h, numeric=h in heads[:3], prose=h in ("tolerance", "reason")) for h in heads)
    more = len(rows) - len(shown)
    below = (f"and {more} findings more: --all or --json shows them",) if more else ()
    return Grid("", name, columns, tuple(Row(first, tuple(cells)) for first, *cells in shown), below)


_HEADLINE = ("IC", "rank_IC")


def history_table(title: str, versions: Sequence[Version], changes: Sequence[str]) -> Grid:
    """Return one row per blessed version, the newest first, with what it changed and why."""
    rows = []
    for version, change in reversed(list(zip(versions, changes, strict=True))):
        commit = _commit(version.snapshot.provenance.get("code"))
        blessed = version.time[:16].replace("T", " ")
        rows.append(Row(f"v{version.number}", (blessed, commit, *_headline(version.snapshot), change, version.reason)))
    columns = (
        *map(Column, ("blessed", "commit")),
        *(Column(METRICS[name].heading, numeric=True) for name in _HEADLINE),
        *(Column(heading, prose=True) for heading in ("changed", "reason")),
    )
    return Grid(title, "version", columns, tuple(rows))


def runs_table(title: str, runs: Sequence[tuple[Path, Snapshot]]) -> Grid:
    """Return one row per run of a case, in the given order: its folder, when, by whose code, and the numbers."""
    rows = []
    for folder, snapshot in runs:
        user = snapshot.provenance.get("user_code") or {}
        own = [str(user.get("digest", "–"))[:8], *(_commit(found) for found in user.get("repositories", ()))]
        computed = str(snapshot.provenance.get("created", "–"))[:16].replace("T", " ")
        commit = _commit(snapshot.provenance.get("code"))
        rows.append(Row(str(folder), (computed, commit, ", ".join(own), *_headline(snapshot))))
    columns = (
        *map(Column, ("computed", "commit", "own code")),
        *(Column(METRICS[name].heading, numeric=True) for name in _HEADLINE),
    )
    return Grid(title, "run", columns, tuple(rows))


def _headline(snapshot: Snapshot) -> list[str]:
    overall = snapshot.metrics.get("overall", {})
    return [METRICS[name].text(overall.get(name)) for name in _HEADLINE]


def _commit(code: Mapping[str, Any] | None) -> str:
    found = code or {}
    return f"{str(found.get('commit') or '–')[:10]}{' +' if found.get('dirty') else ''}"


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
        show(out, metrics_table(verdict.only("overall."), all_metrics=True))
    elif verdict.metrics and (all_metrics or verdict.findings):
        show(out, metrics_table(verdict, all_metrics=all_metrics))


def _colour(verdict: CaseVerdict) -> str:
    if verdict.exit_code is ExitCode.FINE:
        return "green" if verdict.verdict in (Verdict.SAME, Verdict.WITHIN_TOLERANCE) else "yellow"
    return _COLOURS.get(verdict.exit_code, "magenta")

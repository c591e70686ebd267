"""A night's verdicts as a page of Markdown: what was run, what became of it, what moved and by which rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.evaluation.extra import own_metrics
from harness.evaluation.metric_records import METRICS, headings_of
from harness.report.comparison_output import METRIC_COLUMNS, metric_rows
from harness.report.markdown import markdown_table, markdown_text
from harness.snapshots.compare.verdicts import CaseVerdict, ExitCode, worst_exit_code
from harness.snapshots.snapshot import Snapshot

_NUMBERS = ("IC", "ICIR", "rank_IC", "rank_ICIR", "excess_return", "information_ratio", "max_drawdown")
_MEANING = {
    ExitCode.FINE: "fine",
    ExitCode.REGRESSION: "regression",
    ExitCode.USER_ERROR: "a mistake in a case, its data or its baseline",
    ExitCode.NOT_COMPARABLE: "not comparable",
}
_KEYS_SHOWN = 12
_FINDINGS_SHOWN = 25


def to_markdown(
    title: str, verdicts: Sequence[CaseVerdict], snapshots: Mapping[tuple[str, str], Snapshot], *, created: str
) -> str:
    """Return the verdicts of a suite as Markdown.

    Parameters
    ----------
    title
        Heading of the page.
    verdicts
        In the order in which the cases ran.
    snapshots
        (suite, case) → what the case left; those that left nothing are absent.
    created
        When, as text.
    """
    code = worst_exit_code(verdicts)
    counts = Counter(_said(v) for v in verdicts)
    lines = [
        f"# {markdown_text(title)}",
        "",
        f"{created}. Exit code {int(code)}: {_MEANING[code]}. "
        f"{len(verdicts)} cases: {', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}.",
        "",
        *_table(("case", "baseline", "rule", "verdict", "seconds"), [_case_row(v) for v in verdicts]),
    ]
    lines += _numbers(verdicts, snapshots)
    for verdict in verdicts:
        lines += _details(verdict)
    return "\n".join(lines) + "\n"


def _details(verdict: CaseVerdict) -> list[str]:
    if verdict.problem is None and not verdict.identity and not verdict.findings:
        return []
    lines = ["", f"## {markdown_text(f'{verdict.suite}/{verdict.case}')}: {_said(verdict)}", ""]
    lines += [markdown_text(line) for line in (verdict.detail or verdict.basis_reason).splitlines()]
    keys = [f"- {markdown_text(str(d))}" for d in verdict.identity[:_KEYS_SHOWN]]
    if len(verdict.identity) > _KEYS_SHOWN:
        keys.append(f"- and {len(verdict.identity) - _KEYS_SHOWN} keys more")
    keys += [f"- data: {markdown_text(line)}" for line in verdict.data]
    lines += ["", *keys] if keys else []
    rows = metric_rows(verdict) if not verdict.identity else []
    if rows:
        lines += ["", *_table(METRIC_COLUMNS, rows[:_FINDINGS_SHOWN])]
    if len(rows) > _FINDINGS_SHOWN:
        lines += ["", f"and {len(rows) - _FINDINGS_SHOWN} findings more"]
    return lines


def _case_row(verdict: CaseVerdict) -> tuple[str, ...]:
    rule = verdict.basis_reason if verdict.problem is None else "–"
    seconds = f"{verdict.seconds:.1f}" if verdict.problem is None else "–"
    return f"{verdict.suite}/{verdict.case}", verdict.baseline or "–", rule, _said(verdict), seconds


def _numbers(verdicts: Sequence[CaseVerdict], snapshots: Mapping[tuple[str, str], Snapshot]) -> list[str]:
    """Return the overall metrics of every case that left some, the users' own last."""
    found = [(v, snapshots[v.suite, v.case]) for v in verdicts if (v.suite, v.case) in snapshots]
    if not found:
        return []
    metrics = {name: METRICS[name] for name in _NUMBERS}
    for _, snapshot in found:
        metrics |= own_metrics(snapshot.identity)
    rows = []
    for verdict, snapshot in found:
        overall = snapshot.metrics.get("overall", {})
        rows.append((f"{verdict.suite}/{verdict.case}", *(m.text(overall.get(name)) for name, m in metrics.items())))
    return ["", "## Numbers", "", *_table(("case", *headings_of(metrics.values()).values()), rows)]


def _said(verdict: CaseVerdict) -> str:
    return verdict.verdict.value if verdict.problem is None else verdict.problem.value


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return markdown_table(dict.fromkeys(heads, False), ([markdown_text(cell) for cell in row] for row in rows))

"""A night's verdicts as a page of Markdown: what was run, what became of it, what moved and by which rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.compare.output import METRIC_COLUMNS, metric_rows
from harness.compare.verdicts import CaseVerdict, ExitCode, worst_exit_code
from harness.snapshot import Snapshot

__all__ = ["to_markdown"]

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
        f"# {_escaped(title)}",
        "",
        f"{created}. Exit code {int(code)}: {_MEANING[code]}. "
        f"{len(verdicts)} cases: {', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}.",
        "",
        *_table(("case", "baseline", "rule", "verdict", "seconds"), [_case_row(v) for v in verdicts]),
    ]
    numbers = [_number_row(v, snapshots[v.suite, v.case]) for v in verdicts if (v.suite, v.case) in snapshots]
    if numbers:
        lines += ["", "## Numbers", "", *_table(("case", *_NUMBERS), numbers)]
    for verdict in verdicts:
        lines += _details(verdict)
    return "\n".join(lines) + "\n"


def _details(verdict: CaseVerdict) -> list[str]:
    if verdict.problem is None and not verdict.identity and not verdict.findings:
        return []
    lines = ["", f"## {_escaped(f'{verdict.suite}/{verdict.case}')}: {_said(verdict)}", ""]
    lines += [_escaped(line) for line in (verdict.detail or verdict.basis_reason).splitlines()]
    keys = [f"- `{_escaped(str(d))}`" for d in verdict.identity[:_KEYS_SHOWN]]
    if len(verdict.identity) > _KEYS_SHOWN:
        keys.append(f"- and {len(verdict.identity) - _KEYS_SHOWN} keys more")
    keys += [f"- data: {_escaped(line)}" for line in verdict.data]
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


def _number_row(verdict: CaseVerdict, snapshot: Snapshot) -> tuple[str, ...]:
    overall = snapshot.metrics.get("overall", {})
    numbers = (overall.get(name) for name in _NUMBERS)
    return (
        f"{verdict.suite}/{verdict.case}",
        *(f"{n:.4f}" if isinstance(n, int | float) else "–" for n in numbers),
    )


def _said(verdict: CaseVerdict) -> str:
    return verdict.verdict.value if verdict.problem is None else verdict.problem.value


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    return [*lines, *(f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows)]


def _escaped(text: str) -> str:
    for sign in "\\|<>`":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")

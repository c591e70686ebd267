"""Verdicts for people, for programs and for CI: tables, text, JSON, JUnit XML, and the page of a night."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any
from xml.etree import ElementTree

from harness.report.table import (
    MetricRow,
    Table,
    TableCell,
    main_metrics,
    markdown_text,
    metric_table,
    numbers,
    prose,
    table,
    to_markdown,
)
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import CaseVerdict, ExitCode, Problem, Verdict, worst_exit_code
from harness.store.artifacts import canonical_json

_KEYS_SHOWN, _METRICS_SHOWN = 12, 25
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_json(verdicts: Sequence[CaseVerdict]) -> str:
    """Return the verdicts as canonical JSON: the exit code, and every case with every metric."""
    record = {"exit_code": int(worst_exit_code(verdicts)), "cases": [case_record(v) for v in verdicts]}
    return canonical_json(record, indent=1)


def case_record(verdict: CaseVerdict) -> dict[str, Any]:
    """Return a verdict as plain data: its fields, and what follows from them."""

    def plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {k: v.name if isinstance(v, Enum) else v for k, v in pairs}

    record: dict[str, Any] = asdict(verdict, dict_factory=plain)
    return {**record, "verdict": verdict.verdict.name, "exit_code": int(verdict.exit_code)}


def summary(verdict: CaseVerdict) -> str:
    """Return a verdict as text: what was compared by which rule, and every finding."""
    sides = f"{verdict.baseline} → {verdict.candidate}, " if verdict.baseline is not None else ""
    lines = [f"{verdict.suite}/{verdict.case}: {verdict.verdict.value} ({sides}{verdict.basis_reason})"]
    lines += [f"  {line}" for line in filter(None, (verdict.detail, *identity_lines(verdict)))]
    if not verdict.identity:
        lines += [f"  {' '.join(filter(None, row))}" for row in metric_rows(verdict)]
    counts = Counter(m.verdict.value for m in verdict.metrics)
    if counts and not verdict.has_grown:
        lines.append("  metrics: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return "\n".join(lines)


def identity_lines(verdict: CaseVerdict, *, hint: str = "") -> list[str]:
    """Return in which keys the identities differ, and how the data have grown; the hint says where all keys are."""
    more = len(verdict.identity) - _KEYS_SHOWN
    keys = [str(difference) for difference in verdict.identity[:_KEYS_SHOWN]]
    keys += [f"and {more} keys more{hint}"] if more > 0 else []
    counts = Counter(m.verdict.value for m in verdict.metrics) if verdict.has_grown else {}
    said = ["metrics: " + ", ".join(f"{n} {what}" for what, n in counts.items())] if counts else []
    return [*keys, *(f"data: {line}" for line in verdict.data), *said]


def metric_rows(verdict: CaseVerdict, *, all_metrics: bool = False) -> list[tuple[str, ...]]:
    """Return one row of text per finding, worst first; of every metric if asked."""
    rows: list[tuple[str, ...]] = []
    for m in verdict.metrics if all_metrics else verdict.findings:
        difference = "" if m.difference is None else f"{m.difference:+.4g}"
        sides = (_value(m.baseline), _value(m.candidate), difference)
        rows.append((m.path, *sides, m.tolerance, m.verdict.value, m.reason))
    return rows


def _value(value: object) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"


def metrics_table(verdict: CaseVerdict, *, all_metrics: bool = False, hint: str = "") -> Table:
    """Return the metrics that a person should look at, worst first, or every one; the hint says where the rest is."""
    rows = metric_rows(verdict, all_metrics=all_metrics)
    shown = rows if all_metrics else rows[:_METRICS_SHOWN]
    columns = ("metric", *numbers("baseline", "candidate", "difference"), *prose("tolerance"), "verdict")
    below = [f"and {len(rows) - len(shown)} findings more{hint}"] if len(rows) > len(shown) else []
    return table("", (*columns, *prose("reason")), shown, below=below)


def verdicts_table(verdicts: Sequence[CaseVerdict]) -> Table:
    """Return one row per case: what it was held to, by which rule, and what became of it."""
    rows = [
        (
            f"{v.suite}/{v.case}",
            v.baseline or "–",
            "–" if v.problem else v.basis.value,
            TableCell(v.outcome, style=_colour(v)),
            "–" if v.problem else str(len(v.identity) or len(v.findings)),
            _seconds(v),
        )
        for v in verdicts
    ]
    return table("", ("case", "baseline", "rule", "verdict", *numbers("findings", "seconds")), rows)


def _seconds(verdict: CaseVerdict) -> str:
    return "–" if verdict.problem else f"{verdict.seconds:.1f}"


def _colour(verdict: CaseVerdict) -> str:
    if verdict.exit_code is ExitCode.FINE:
        return "green" if verdict.verdict in (Verdict.SAME, Verdict.WITHIN_TOLERANCE) else "yellow"
    return "red" if verdict.exit_code in (ExitCode.REGRESSION, ExitCode.USER_ERROR) else "magenta"


def to_junit_xml(verdicts: Sequence[CaseVerdict], *, name: str = "bench") -> str:
    r"""Return the verdicts as a JUnit report: one suite per suite, one test case per case.

    A regression is a ``failure``; what could not be run or compared is an ``error``; what was skipped says why. The
    full text of the verdict stands in ``system-out``. Characters that XML cannot hold are written as ``\xNN``.
    """
    root = ElementTree.Element("testsuites", {"name": _clean(name), **_counts(verdicts)})
    for suite in dict.fromkeys(v.suite for v in verdicts):
        members = [v for v in verdicts if v.suite == suite]
        node = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite), **_counts(members, "skipped")})
        for verdict in members:
            _add_case(node, verdict)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def _add_case(suite: ElementTree.Element, verdict: CaseVerdict) -> None:
    names = {"classname": _clean(verdict.suite), "name": _clean(verdict.case), "time": f"{verdict.seconds:.3f}"}
    node = ElementTree.SubElement(suite, "testcase", names)
    text = _clean(summary(verdict))
    kind = _kind(verdict)
    if kind == "skipped":
        ElementTree.SubElement(node, kind, message=_clean(verdict.detail))
    elif kind is not None:
        message = text.partition("\n")[0]
        ElementTree.SubElement(node, kind, message=message, type=verdict.verdict.name).text = text
    ElementTree.SubElement(node, "system-out").text = text


def _kind(verdict: CaseVerdict) -> str | None:
    if verdict.problem is Problem.SKIPPED:
        return "skipped"
    if verdict.exit_code is ExitCode.FINE:
        return None
    return "failure" if verdict.exit_code is ExitCode.REGRESSION and verdict.problem is not Problem.CRASHED else "error"


def _counts(verdicts: Sequence[CaseVerdict], *more: str) -> dict[str, str]:
    kinds = Counter(_kind(v) for v in verdicts)
    counts = {"failures": kinds["failure"], "errors": kinds["error"], **{kind: kinds[kind] for kind in more}}
    time = f"{sum(v.seconds for v in verdicts):.3f}"
    return {"tests": str(len(verdicts)), **{name: str(count) for name, count in counts.items()}, "time": time}


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


_MEANING = {
    ExitCode.FINE: "fine",
    ExitCode.REGRESSION: "regression",
    ExitCode.USER_ERROR: "a mistake in a case, its data or its baseline",
    ExitCode.NOT_COMPARABLE: "not comparable",
}


def night_page(
    title: str,
    verdicts: Sequence[CaseVerdict],
    snapshots: Mapping[tuple[str, str], Snapshot],
    *,
    created: str,
    tables: Sequence[Table] = (),
) -> str:
    """Return the verdicts of a suite, in the order given, as Markdown, and further tables, each under its caption.

    Cases that left no snapshot are absent from `snapshots`: (suite, case) → snapshot.
    """
    code = worst_exit_code(verdicts)
    counts = ", ".join(f"{n} {what}" for what, n in sorted(Counter(v.outcome for v in verdicts).items()))
    rows = [
        (f"{v.suite}/{v.case}", v.baseline or "–", "–" if v.problem else v.basis_reason, v.outcome, _seconds(v))
        for v in verdicts
    ]
    return "\n".join(
        [
            f"# {markdown_text(title)}\n",
            f"{created}. Exit code {int(code)}: {_MEANING[code]}. {len(verdicts)} cases: {counts}.\n",
            to_markdown(table("", ("case", "baseline", "rule", "verdict", "seconds"), rows)),
            *_numbers(verdicts, snapshots),
            *(f"## {markdown_text(shown.caption)}\n\n{to_markdown(shown)}" for shown in tables),
            *filter(None, map(_details, verdicts)),
        ]
    )


def _details(verdict: CaseVerdict) -> str:
    if verdict.problem is None and not verdict.identity and not verdict.findings and not verdict.has_grown:
        return ""
    lines = [f"## {markdown_text(f'{verdict.suite}/{verdict.case}')}: {verdict.outcome}", ""]
    lines += [markdown_text(line) for line in (verdict.detail or verdict.basis_reason).splitlines()]
    keys = [f"- {markdown_text(line)}" for line in identity_lines(verdict)]
    lines += ["", *keys] if keys else []
    if verdict.findings and not verdict.identity:
        lines += ["", to_markdown(metrics_table(verdict)).removesuffix("\n")]
    return "\n".join(lines) + "\n"


def _numbers(verdicts: Sequence[CaseVerdict], snapshots: Mapping[tuple[str, str], Snapshot]) -> list[str]:
    found = {f"{v.suite}/{v.case}": at for v in verdicts if (at := snapshots.get((v.suite, v.case))) is not None}
    if not found:
        return []
    rows = [MetricRow(TableCell(case), snapshot.overall, competes=False) for case, snapshot in found.items()]
    return ["## Numbers\n", to_markdown(metric_table("case", main_metrics(list(found.values())), rows))]

"""Verdicts for people, for programs and for CI: table rows, JSON, JUnit XML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any
from xml.etree import ElementTree

from harness.snapshots.compare.verdicts import CaseVerdict, ExitCode, MetricVerdict, Problem, worst_exit_code
from harness.store.artifacts import canonical_json

METRIC_COLUMNS = ("metric", "baseline", "candidate", "difference", "tolerance", "verdict", "reason")
_SHOWN = 12
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_json(verdicts: Sequence[CaseVerdict]) -> str:
    """Return the verdicts as canonical JSON: the exit code, and every case with every metric."""
    record = {"exit_code": int(worst_exit_code(verdicts)), "cases": [case_record(v) for v in verdicts]}
    return canonical_json(record, indent=1)


def case_record(verdict: CaseVerdict) -> dict[str, Any]:
    """Return a verdict as plain data: its fields, and what follows from them."""
    record: dict[str, Any] = asdict(verdict, dict_factory=_plain)
    return {**record, "verdict": verdict.verdict.name, "exit_code": int(verdict.exit_code)}


def to_junit_xml(verdicts: Sequence[CaseVerdict], *, name: str = "bench") -> str:
    r"""Return the verdicts as a JUnit report: one suite per suite, one test case per case.

    A regression is a ``failure``; what could not be run or compared is an ``error``; what was skipped says why. The
    full text of the verdict stands in ``system-out``. Characters that XML cannot hold are written as ``\xNN``.
    """
    root = ElementTree.Element("testsuites", {"name": _clean(name), **_counts(verdicts)})
    for suite in dict.fromkeys(v.suite for v in verdicts):
        members = [v for v in verdicts if v.suite == suite]
        node = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite), **_counts(members, skips=True)})
        for verdict in members:
            _add_case(node, verdict)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'


def summary(verdict: CaseVerdict) -> str:
    """Return a verdict as text: what was compared by which rule, and every finding."""
    sides = f"{verdict.baseline} → {verdict.candidate}, " if verdict.baseline is not None else ""
    lines = [f"{verdict.suite}/{verdict.case}: {verdict.verdict.value} ({sides}{verdict.basis_reason})"]
    if verdict.detail:
        lines.append(f"  {verdict.detail}")
    lines += [f"  {difference}" for difference in verdict.identity[:_SHOWN]]
    if len(verdict.identity) > _SHOWN:
        lines.append(f"  and {len(verdict.identity) - _SHOWN} keys more")
    lines += [f"  data: {line}" for line in verdict.data]
    if not verdict.identity:
        lines += [f"  {' '.join(filter(None, row))}" for row in metric_rows(verdict)]
    counts = Counter(m.verdict.value for m in verdict.metrics)
    if counts:
        lines.append("  metrics: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return "\n".join(lines)


def metric_rows(verdict: CaseVerdict, *, all_metrics: bool = False) -> list[tuple[str, ...]]:
    """Return one row of text per finding, worst first, under `METRIC_COLUMNS`; of every metric if asked."""
    return [_row(m) for m in (verdict.metrics if all_metrics else verdict.findings)]


def _row(metric: MetricVerdict) -> tuple[str, ...]:
    difference = "" if metric.difference is None else f"{metric.difference:+.4g}"
    return (
        metric.path,
        _value(metric.baseline),
        _value(metric.candidate),
        difference,
        metric.tolerance,
        metric.verdict.value,
        metric.reason,
    )


def _value(value: object) -> str:
    if value is None:
        return "undefined"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"


def _add_case(suite: ElementTree.Element, verdict: CaseVerdict) -> None:
    node = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_clean(verdict.suite),
        name=_clean(verdict.case),
        time=f"{verdict.seconds:.3f}",
    )
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
    if verdict.problem is Problem.CRASHED:
        return "error"
    return "failure" if verdict.exit_code is ExitCode.REGRESSION else "error"


def _counts(verdicts: Sequence[CaseVerdict], *, skips: bool = False) -> dict[str, str]:
    kinds = Counter(_kind(v) for v in verdicts)
    return {
        "tests": str(len(verdicts)),
        "failures": str(kinds["failure"]),
        "errors": str(kinds["error"]),
        **({"skipped": str(kinds["skipped"])} if skips else {}),
        "time": f"{sum(v.seconds for v in verdicts):.3f}",
    }


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {k: v.name if isinstance(v, Enum) else v for k, v in pairs}

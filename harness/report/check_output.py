"""Verdicts for people, for programs and for CI: table rows, JSON, JUnit XML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any
from xml.etree import ElementTree

from harness.evaluation.metrics import METRICS, headings_of, own_metrics
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import CaseVerdict, ExitCode, MetricVerdict, Problem, worst_exit_code
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


# What CommonMark and GitHub give a meaning to inside a line. A lone underscore inside a word has none.
_SPECIAL = re.compile(r"([\\`*\[\]<>|~&$#])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# What makes a list, a rule or a heading of a line that begins with it.
_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-+=\s]*(\s|$))")


def markdown_text(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line: a cell of a table, an item of a list, a heading."""
    line = " ".join(text.split())
    return _BLOCK.sub(r"\1\\\2", _SPECIAL.sub(r"\\\g<0>", line))


def bold(escaped: str) -> str:
    """Return escaped text in bold."""
    return f"**{escaped}**"


def link(text: str, target: str) -> str:
    """Return a link; the target is a relative path or an address."""
    safe = "".join(c if c not in " <>()|\\`" and c.isprintable() else f"%{ord(c):02X}" for c in target)
    return f"[{markdown_text(text)}]({safe})"


def markdown_table(heads: Mapping[str, bool], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table.

    Args:
        heads: Heading, as it is → whether its column holds numbers, which stand to the right.
        rows: Cells that `markdown_text` has escaped.
    """
    return [
        f"| {' | '.join(map(markdown_text, heads))} |",
        f"| {' | '.join('---:' if numeric else '---' for numeric in heads.values())} |",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


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

    Args:
        title: Heading of the page.
        verdicts: In the order in which the cases ran.
        snapshots: (suite, case) → what the case left; those that left nothing are absent.
        created: When, as text.
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

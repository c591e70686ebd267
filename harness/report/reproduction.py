"""Published tables beside our runs: a verdict on every value, and a test of every claim with the power that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.config.reference import Claim, ReferenceResults, ReferenceRow, published_difference
from harness.evaluation.metrics import METRICS, MetricRecord
from harness.evaluation.significance.bootstrap import PairedDifference, paired_difference
from harness.evaluation.significance.hac import HacTest
from harness.report.table import Table, TableCell, markdown_text, metric_cell, numbers, prose, table, to_markdown
from harness.run.finished import FinishedRun, flatten, named_apart
from harness.run.sweep_columns import LEVEL, finite
from harness.run.sweep_statistics import common_times
from harness.snapshots.evidence import overlap_of
from harness.store.files import write_atomically

Value = Literal["REPRODUCED", "DIFFERS", "NOT COMPARABLE"]
Tested = Literal["SHOWN", "NOT SHOWN", "CONTRADICTED", "NOT COMPARABLE"]
_COLOURS = {"REPRODUCED": "green", "SHOWN": "green", "DIFFERS": "yellow", "NOT SHOWN": "yellow", "CONTRADICTED": "red"}


@dataclass(frozen=True)
class ValueVerdict:
    """A published value beside ours."""

    # row, run, metric: whose they are
    row: str
    run: str
    metric: str
    # published, ours: the values; ours is None where it is undefined or was not evaluated
    published: float
    ours: float | None
    # low, high: our interval, 95 % unless the run asked for another level; None without one
    low: float | None
    high: float | None
    # ``REPRODUCED`` when the published value lies in our interval, ``DIFFERS`` when it does not, and ``NOT
    # COMPARABLE``
    verdict: Value
    reason: str = ""  # why it is not comparable


@dataclass(frozen=True)
class ClaimVerdict:
    """A published claim, tested on two of our runs."""

    # claim, metric: "A over B" and the metric by which
    claim: str
    metric: str
    runs: tuple[str, ...]  # ours, in the same order; empty where there is no pair
    # published, ours: by how much the first is better, in the metric's own unit
    published: float
    # ``SHOWN`` when both tests reject and the first is better, ``CONTRADICTED`` when they reject and it is worse,
    # ``NOT SHOWN`` otherwise, and ``NOT COMPARABLE``
    verdict: Tested
    ours: float | None = None
    # p_hac, p_bootstrap: two-sided p-values of no difference in ours, as in a sweep
    p_hac: float | None = None
    p_bootstrap: float | None = None
    # probability that the HAC test at 5 % sees a difference as large as the published one, given how much the daily
    # differences of our runs vary
    power: float | None = None
    reason: str = ""  # why it is not comparable


@dataclass(frozen=True)
class Reproduction:
    """What a published table and our runs say of each other."""

    results: ReferenceResults
    runs: tuple[FinishedRun, ...]
    values: tuple[ValueVerdict, ...]
    claims: tuple[ClaimVerdict, ...]

    def values_table(self) -> Table:
        """Return each published row above the runs that it stands beside, with the verdict on each run."""
        metrics = [METRICS[name] for name in dict.fromkeys(name for row in self.results.rows for name in row.values)]
        rows: list[Sequence[TableCell | str]] = []
        runs = {run.name: run for run in self.runs}
        for row in self.results.rows:
            beside = dict.fromkeys(verdict.run for verdict in self.values if verdict.row == row.name)
            if beside:
                rows.append([row.name, "published", *(metric_cell(m, row.values.get(m.name)) for m in metrics), ""])
            for name in beside:
                found = {v.metric: v for v in self.values if (v.row, v.run) == (row.name, name)}
                cells = [_value_cell(m, runs[name], found.get(m.name)) for m in metrics]
                rows.append([row.name, name, *cells, _summary(list(found.values()))])
        heads = ("row", "from", *numbers(*(m.heading for m in metrics)), *prose("verdict"))
        return table(f"{self.results.source}: {self.results.scenario}", heads, rows, below=[self.results.differences])

    def claims_table(self) -> Table | None:
        """Return the claims with their tests; None where the source makes none."""
        if not self.claims:
            return None
        rows: list[Sequence[TableCell | str]] = []
        for found in self.claims:
            metric = METRICS[found.metric]
            tested = [TableCell(_p(value), value) for value in (found.p_hac, found.p_bootstrap, found.power)]
            sides = (metric_cell(metric, found.published), metric_cell(metric, found.ours))
            verdict = TableCell(found.verdict, style=_COLOURS.get(found.verdict, ""))
            rows.append((found.claim, metric.heading, *sides, *tested, verdict, found.reason or " − ".join(found.runs)))
        heads = numbers("published", "ours", "p (HAC)", "p (bootstrap)", "power")
        columns = ("claim", "metric", *heads, "verdict", *prose("runs, or why not"))
        return table(f"Claims of {self.results.source}", columns, rows)

    def tables(self) -> list[Table]:
        """Return both tables, or the one that there is."""
        return [shown for shown in (self.values_table(), self.claims_table()) if shown is not None]

    def record(self) -> dict[str, Any]:
        """Return everything as plain data."""
        about = {k: v for k, v in asdict(self.results).items() if k not in ("where", "rows", "claims")}
        return {**about, "values": [asdict(v) for v in self.values], "claims": [asdict(c) for c in self.claims]}


def _value_cell(metric: MetricRecord, run: FinishedRun, verdict: ValueVerdict | None) -> TableCell:
    intervals = run.snapshot.metrics.get("intervals") or {}
    cell = metric_cell(metric, run.overall.get(metric.name), intervals.get(metric.name))
    return replace(cell, style="" if verdict is None else _COLOURS.get(verdict.verdict, ""))


def _summary(verdicts: Sequence[ValueVerdict]) -> str:
    parts = []
    for kind in ("REPRODUCED", "DIFFERS", "NOT COMPARABLE"):
        members = [v for v in verdicts if v.verdict == kind]
        if len(members) == len(verdicts):
            return kind if not members[0].reason else f"{kind}: {members[0].reason}"
        names = ", ".join(METRICS[v.metric].heading for v in members)
        parts += [f"{kind}: {names}"] if members else []
    return "; ".join(parts)


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}" if value >= 0.01 else f"{value:.3f}"


def reproduce(runs: Sequence[FinishedRun], results: Sequence[ReferenceResults]) -> tuple[Reproduction, ...]:
    """Hold runs against published tables; a table that no run stands beside is left out.

    Args:
        runs: Finished runs, of which the series are read where a claim is tested; those that are called alike are
            named apart.
        results: The published tables.
    """
    found, flat = [], [(run, flatten(run.snapshot.identity).items()) for run in named_apart(runs)]
    for result in results:
        beside = {
            row.name: tuple(run for run, keys in flat if {**result.where, **row.where}.items() <= keys)
            for row in result.rows
        }
        values = tuple(v for row in result.rows for run in beside[row.name] for v in _values(result, row, run))
        if values:
            claims = tuple(v for claim in result.claims for v in _claims(result, claim, beside))
            met = tuple(dict.fromkeys(run for runs_of_row in beside.values() for run in runs_of_row))
            found.append(Reproduction(result, met, values, claims))
    return tuple(found)


FILE = "published.md"
_ADDRESS = re.compile(r"https?://[^\s<>]+")
_INTRODUCTION = """\
Written by `bench bless` from the blessed runs of this suite. Above each run stands the published row that it
belongs to, and below the tables what its source claims, tested on two of our runs that differ in nothing else."""


def write_published(found: Sequence[Reproduction], folder: Path) -> Path | None:
    """Write ``published.md`` into the folder of a suite's baselines; return the file, None where nothing changed."""
    parts = [f"# Published tables, run here\n\n{_INTRODUCTION}\n"]
    for one in found:
        results = one.results
        # In angle brackets anything but an address would be a tag, which nobody sees.
        place = f"<{results.url}>" if _ADDRESS.fullmatch(results.url) else markdown_text(results.url)
        parts += [f"## {markdown_text(results.source)}\n", f"{markdown_text(results.scenario)}. {place}\n"]
        # What each column says stands in the table's head; its caption would repeat the heading.
        parts += [to_markdown(shown) for shown in one.tables()]
    path, text = folder / FILE, "\n".join(parts)
    if not found or (path.is_file() and path.read_text(encoding="utf-8") == text):
        return None
    write_atomically(path, text.encode())
    return path


def _values(result: ReferenceResults, row: ReferenceRow, run: FinishedRun) -> Iterator[ValueVerdict]:
    intervals = run.snapshot.metrics.get("intervals") or {}
    for metric, published in row.values.items():
        ours, bounds = run.overall.get(metric), intervals.get(metric) or {}
        low, high = (bounds.get(side) for side in ("low", "high"))
        verdict: Value = "NOT COMPARABLE"
        reason = result.not_comparable or ""
        if not reason and ours is None:
            reason = "undefined in this run" if metric in run.overall else "not evaluated by its `evaluation`"
        elif not reason and (low is None or high is None):
            few = "too few test times for one" if intervals else "evaluation.significance makes them"
            reason = f"without an interval: {few}"
        elif not reason:
            verdict = "REPRODUCED" if low <= published <= high else "DIFFERS"  # type: ignore[operator]  # neither is None
        yield ValueVerdict(row.name, run.name, metric, published, ours, low, high, verdict, reason)


def _claims(
    result: ReferenceResults, claim: Claim, beside: dict[str, tuple[FinishedRun, ...]]
) -> Iterator[ClaimVerdict]:
    """Yield a claim's verdict by each metric, for every pair of runs that differ in what tells the rows apart only."""
    rows, name = (result.row(claim.better), result.row(claim.than)), f"{claim.better} over {claim.than}"
    groups = {key.split(".")[1] for key in _differing(rows[0].where, rows[1].where) if key.startswith("config.")}
    pairs = [
        (better, than)
        for better in beside[claim.better]
        for than in beside[claim.than]
        if better.why_not_comparable(than) is None
        and all(key.split(".")[0] in groups for key in _differing(flatten(better.config), flatten(than.config)))
    ]
    for metric in claim.metrics:
        published = published_difference(metric, *(row.values[metric] for row in rows))
        for pair in pairs:
            yield _tested(name, METRICS[metric], published, pair)
        if not pairs:
            reason = f"no two runs that differ in {' and '.join(sorted(groups))} only"
            yield ClaimVerdict(name, metric, (), published, "NOT COMPARABLE", reason=reason)


def _differing(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _tested(claim: str, metric: MetricRecord, published: float, pair: tuple[FinishedRun, FinishedRun]) -> ClaimVerdict:
    names, (better, than) = tuple(run.name for run in pair), (run.overall.get(metric.name) for run in pair)

    def untested(reason: str) -> ClaimVerdict:
        return ClaimVerdict(claim, metric.name, names, published, "NOT COMPARABLE", reason=reason)

    if metric.statistic not in ("mean", "ir"):
        return untested(f"a {metric.statistic} has no paired test")
    if better is None or than is None or any(metric.series not in run.series.values for run in pair):
        return untested("one of the runs has no such metric")
    tested, ours = difference_of(metric, *pair), published_difference(metric.name, better, than)
    p_hac, p_bootstrap = finite(tested.hac.p_value), finite(tested.bootstrap.p_value)
    verdict: Tested = "NOT SHOWN"
    if p_hac is not None and p_bootstrap is not None and max(p_hac, p_bootstrap) <= LEVEL:
        verdict = "SHOWN" if ours > 0 else "CONTRADICTED"
    factor = metric.factor(pair[0].snapshot.identity.get("year", {}).get("periods"), pair[0].horizon)
    power = power_of(tested.hac, published / factor)
    return ClaimVerdict(claim, metric.name, names, published, verdict, ours, p_hac, p_bootstrap, power)


def difference_of(metric: MetricRecord, run: FinishedRun, other: FinishedRun) -> PairedDifference:
    """Return the paired test of a metric on the times that both runs have, in the unit of the metric's series."""
    times, overlap = common_times([run, other]), overlap_of(run.snapshot.identity, metric)
    sides = (run.at(metric.series, times), other.at(metric.series, times))
    return paired_difference(*sides, metric.statistic, look_ahead=overlap)


def power_of(test: HacTest, effect: float) -> float | None:
    """Return the probability that a two-sided t-test at 5 % with this standard error sees a true effect of that size.

    By the noncentral t distribution with the test's degrees of freedom; None where the test is undefined.
    """
    from scipy.stats import nct, t  # not needed to import the harness

    if test.degrees == 0 or not test.standard_error > 0 or effect != effect:
        return None
    # Beyond thirty standard errors, where SciPy's distribution is undefined, the power is one.
    critical, shift = t.ppf(1 - LEVEL / 2, test.degrees), min(abs(effect) / test.standard_error, 30.0)
    return float(nct.sf(critical, test.degrees, shift) + nct.cdf(-critical, test.degrees, shift))

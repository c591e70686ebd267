"""A gain of DDG-DA taken apart: what each switch and each setting carries, from runs that have finished.

    python examples/ddgda_apart.py runs --figure apart.svg

Every run with `adaptation=ddgda` or `ddgda_qlib` below the folder is held against rolling retrain of the same scenario,
and against its own profile without the change that it carries. Runs that differ in the seed alone are one row: their
daily ICs are averaged before they are tested, their spread stands beside. docs/explanation/ddgda.md has the sweeps.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from scipy.stats import t

from harness.config import compose_config
from harness.evaluation.metrics import metrics_of
from harness.evaluation.significance.hac import HacTest, hac_mean
from harness.report.reproduction import power_of
from harness.run.finished import Doubles, FinishedRun, folders_under
from harness.run.sweep_statistics import common_times
from harness.snapshots.evidence import overlap_of
from harness.store.artifacts import canonical_json
from harness.store.records import describe

METRIC = "IC"
POWER = 0.8
SEEDS, APART = ("seed", "proxy_seed"), ("sim_task_model",)
SIDES = {"qlib": "ddgda_qlib", "point_in_time": "ddgda"}


@dataclass(frozen=True, eq=False)
class Variant:
    """One profile with one change, run with several seeds, in one scenario.

    Attributes:
        scenario: What it shares with `plain`, in words.
        profile: ``ddgda`` or ``ddgda_qlib``.
        change: What differs from the profile; empty for the profile itself.
        gains: Seed → (T,) daily IC less that of rolling retrain.
        level: Mean IC over seeds.
        overlap: Of the labels, in times.
    """

    scenario: str
    profile: str
    change: str
    gains: Mapping[int, Doubles]
    level: float
    overlap: int

    @property
    def tested(self) -> HacTest:
        """The gain over rolling retrain."""
        return hac_mean(np.mean(list(self.gains.values()), axis=0), look_ahead=self.overlap)

    @property
    def by_seed(self) -> Doubles:
        """(seeds,) mean gain."""
        return np.array([np.nanmean(gain) for gain in self.gains.values()])

    @property
    def spread(self) -> float:
        """Standard deviation of the gain over the seeds; NaN for one."""
        return float(self.by_seed.std(ddof=1)) if len(self.gains) > 1 else float("nan")

    def against(self, other: Variant) -> HacTest:
        """The gain less that of another variant on the same days, with the seeds that both have."""
        seeds = sorted(self.gains.keys() & other.gains.keys())
        moved = [self.gains[seed] - other.gains[seed] for seed in seeds] or [np.array([np.nan])]
        return hac_mean(np.mean(moved, axis=0), look_ahead=self.overlap)


def visible(test: HacTest) -> float:
    """Return the smallest true difference that a two-sided test at 5 % sees in 80 % of cases; NaN where untested."""
    sizes = test.standard_error * np.arange(1.0, 12.0, 0.05)
    return next((size for size in sizes.tolist() if (power_of(test, size) or 0.0) >= POWER), float("nan"))


def flat(node: object, key: str = "") -> dict[str, object]:
    """Return dotted key → value of a described configuration, lists whole."""
    if not isinstance(node, Mapping):
        return {key: node}
    return {k: v for name, inner in node.items() for k, v in flat(inner, f"{key}.{name}" if key else name).items()}


def differences(own: Mapping[str, object], base: Mapping[str, object]) -> dict[str, object]:
    """Return the keys whose values differ, with those of `own`; None where it has none."""
    return {key: own.get(key) for key in sorted(own.keys() | base.keys()) if own.get(key) != base.get(key)}


def in_words(changed: Mapping[str, object]) -> str:
    """Return changes as `bench` takes them, several of one group by the group's name, a switch by its own."""
    groups: dict[str, dict[str, object]] = defaultdict(dict)
    for key, value in changed.items():
        if not key.endswith("_target_"):
            plain = key.removeprefix("switches.")
            groups[plain.partition(".")[0]][plain] = value
    single = {
        name: next(iter(inner.items()))
        if len(inner) == 1
        else (name, None if all(v is None for v in inner.values()) else "…")
        for name, inner in groups.items()
    }
    return (
        " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in single.values())
        .replace('"', "")
        .replace(", ", ",")
    )


def scenario_of(run: FinishedRun) -> dict[str, object]:
    """What decides the comparison with rolling retrain: everything but the adaptation and seeds."""
    config = {key: value for key, value in run.config.items() if key not in ("adaptation", "seed")}
    return {**flat(config), "data": run.snapshot.identity["data"]["fingerprint"]}


def changes_of(run: FinishedRun) -> dict[str, object]:
    """Return what a DDG-DA has other than its profile, but for seeds."""
    given = run.config["adaptation"]
    base = compose_config([f"adaptation={SIDES[given['profile']]}"]).adaptation
    return {key: value for key, value in differences(flat(given), flat(describe(base))).items() if key not in SEEDS}


def seeds_of(run: FinishedRun) -> tuple[int, int]:
    """Return the seeds of the weight model and of LightGBM."""
    given = run.config["adaptation"]
    own = run.config["seed"] if given["seed"] is None else given["seed"]
    proxies = given.get("proxy_seed")
    return own, own if proxies is None else proxies


def variants(runs: Sequence[FinishedRun]) -> Iterator[Variant]:
    """Yield the variants of all scenarios that have a run of rolling retrain, each profile before its changes.

    Another kind of proxies is another scenario. What all runs of DDG-DA have in common is no change. A run that seeds
    its weight model and LightGBM differently is left out: it shows too little of what is random.
    """
    plain, grouped = {}, defaultdict[tuple[str, str, str, str], dict[int, FinishedRun]](dict)
    for run in runs:
        if run.config["adaptation"]["_target_"].endswith(".RollingRetrain"):
            plain[canonical_json(scenario_of(run))] = run
    learned = [run for run in runs if run.config["adaptation"]["_target_"].endswith(".DDGDA")]
    scenarios, changes = [scenario_of(run) for run in learned], [changes_of(run) for run in learned]
    told = {key for one in scenarios for key in differences(one, scenarios[0]) if key != "data"}
    shared = {key for one in changes for key in one if all(key in c and c[key] == one[key] for c in changes)}
    for run, scenario, changed in zip(learned, scenarios, changes, strict=True):
        apart = {key: value for key, value in changed.items() if key in APART}
        name = in_words({key: scenario.get(key) for key in sorted(told)} | apart)
        change = in_words({key: value for key, value in changed.items() if key not in shared | apart.keys()})
        own, proxies = seeds_of(run)
        if own == proxies and canonical_json(scenario) in plain:
            grouped[canonical_json(scenario), name, SIDES[run.config["adaptation"]["profile"]], change][own] = run
    for (key, name, profile, change), members in sorted(grouped.items(), key=lambda item: item[0][1:]):
        yield _variant((name, profile, change), dict(sorted(members.items())), plain[key])


def _variant(name: tuple[str, str, str], members: Mapping[int, FinishedRun], plain: FinishedRun) -> Variant:
    metric = metrics_of(plain.snapshot.identity)[METRIC]
    times = common_times([plain, *members.values()])
    own = {seed: run.at(metric.series, times) for seed, run in members.items()}
    gains = {seed: series - plain.at(metric.series, times) for seed, series in own.items()}
    level = float(np.nanmean(list(own.values())))
    return Variant(*name, gains, level, overlap_of(plain.snapshot.identity, metric))


def table(found: Sequence[Variant]) -> Iterator[str]:
    """Yield the lines of a Markdown table; gains and their spread count in 0.0001 of IC."""
    bases = {(one.scenario, one.profile): one for one in found if not one.change}
    yield "| scenario | profile | change | seeds | IC | gain over RR | ± seeds | t | p | visible | change of gain | t |"
    yield f"| --- | --- | --- |{' ---: |' * 9}"
    for one in found:
        test, base = one.tested, bases.get((one.scenario, one.profile), one)
        cells = [one.scenario, one.profile, f"`{one.change}`" if one.change else "", str(len(one.gains))]
        cells += [f"{one.level:.4f}", f"{1e4 * test.estimate:+.1f}", f"{1e4 * one.spread:.1f}", f"{test.t_value:.2f}"]
        cells += [f"{test.p_value:.2f}", f"{1e4 * visible(test):.0f}"]
        moved = one.against(base)
        cells += ["", ""] if base is one else [f"{1e4 * moved.estimate:+.1f}", f"{moved.t_value:.2f}"]
        yield f"| {' | '.join(cells)} |"


WIDE, LEFT, ROW, TOP = 760, 370, 20, 30
COLOURS = {"ddgda": "#0072B2", "ddgda_qlib": "#D55E00"}


def figure(found: Sequence[Variant]) -> str:
    """Return an SVG: the gain of every variant over rolling retrain with its 95 % interval, and that of each seed."""
    halves = [float(t.ppf(0.975, one.tested.degrees)) * one.tested.standard_error for one in found]
    reach = max(abs(one.tested.estimate) + half for one, half in zip(found, halves, strict=True)) * 1.05
    middle, unit = (LEFT + WIDE - 20) / 2, (WIDE - 20 - LEFT) / 2 / reach
    lines, y = [], TOP
    for at, (one, half) in enumerate(zip(found, halves, strict=True)):
        if at == 0 or found[at - 1].scenario != one.scenario:
            lines.append(f'<text x="10" y="{y + 4}" font-weight="bold">{escape(one.scenario)}</text>')
            y += ROW
        x, colour, gain = middle, COLOURS[one.profile], one.tested.estimate
        low, high = (x + unit * (gain + side * half) for side in (-1, 1))
        seeds = "".join(f'<circle cx="{x + unit * g:.1f}" cy="{y}" r="2.5" opacity="0.45"/>' for g in one.by_seed)
        name = f"{one.profile} {one.change}".strip()
        lines.append(f'<text x="20" y="{y + 4}">{escape(name)}</text><g fill="{colour}" stroke="{colour}">{seeds}')
        lines.append(
            f'<path d="M{low:.1f} {y}H{high:.1f}"/><path d="M{x + unit * gain:.1f} {y - 6}v12" stroke-width="2"/></g>'
        )
        y += ROW
    ticks = [tick for tick in np.arange(-0.02, 0.0201, 0.005).round(3).tolist() if abs(tick) <= reach]
    marks = [f'<text x="{middle + unit * k:.1f}" y="{y + 12}" text-anchor="middle">{k:+.3f}</text>' for k in ticks]
    height = y + 24
    about = "Gain in IC of DDG-DA over rolling retrain, 95% intervals"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" role="img" aria-label="{about}" '
            'font-family="system-ui, sans-serif" font-size="11" fill="#1a2129">',
            f'<rect width="{WIDE}" height="{height}" fill="#ffffff"/>',
            f'<text x="10" y="14">{about}; dots are seeds</text>',
            f'<path d="M{middle:.1f} {TOP - 8}V{y}" stroke="#57606a" stroke-dasharray="4 3"/>',
            *lines,
            *marks,
            "</svg>\n",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table of a folder of runs to standard output, and the figure where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of finished runs")
    parser.add_argument("--figure", type=Path, help="write this SVG too")
    given = parser.parse_args(arguments)
    found = list(variants([FinishedRun.read(folder) for folder in folders_under(given.runs)[1]]))
    if not found:
        sys.stderr.write("No DDG-DA with a rolling retrain of the same scenario.\n")
        return 1
    sys.stdout.write("\n".join([*table(found), ""]))
    if given.figure is not None:
        given.figure.write_text(figure(found), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

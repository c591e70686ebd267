"""Suites: named lists of experiments, each held to its baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from harness.config.tolerances import (
    Case,
    SuiteFile,
    Tolerances,
    load_tolerances,
    parse_tolerances,
    read_yaml,
    record_from,
)
from harness.errors import ConfigError, ExperimentError, HarnessError, SnapshotError
from harness.evaluation.metrics import directions_of
from harness.snapshots.baseline import Baselines, check_names
from harness.snapshots.comparison import compare
from harness.snapshots.evidence import Evidence
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import CaseVerdict, Direction, Problem
from harness.store.artifacts import ArtifactStore
from harness.store.files import config_folder, search_folder


class Result(Protocol):
    """What running an experiment gives: its snapshot."""

    @property
    def snapshot(self) -> Snapshot: ...


Run = Callable[[tuple[str, ...]], Result]
Folders = Sequence[str | Path]


@dataclass(frozen=True)
class Suite:
    """A named list of experiments, the tolerances that they are held to, and the cases with the suite's overrides."""

    name: str
    regression: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Standard:
    """What snapshots are held to."""

    baselines: Baselines
    tolerances: Tolerances
    directions: Mapping[str, Direction]  # by metric, beside the metrics of one's own that a snapshot names
    evidence: Evidence | None = None  # tests differences, and names what of the data differs; None looks nothing up

    def judge(self, snapshot: Snapshot, label: str = "this run") -> CaseVerdict:
        """Return the verdict on a snapshot against the baseline of its case; there must be one, undamaged.

        A snapshot whose own audit found a leak fails, whatever it is compared with.
        """
        try:
            latest = self.baselines.baseline(snapshot.suite, snapshot.case)
        except SnapshotError as error:
            return CaseVerdict.without(snapshot.suite, snapshot.case, Problem.DAMAGED, str(error))
        if latest is None:
            verdict = CaseVerdict.without(snapshot.suite, snapshot.case, Problem.NO_BASELINE)
        else:
            verdict = self.compare(latest.snapshot, snapshot, (f"v{latest.number}", label))
        return verdict if snapshot.leak is None else replace(verdict, problem=Problem.LEAK, detail=snapshot.leak)

    def compare(self, baseline: Snapshot, snapshot: Snapshot, labels: tuple[str, str]) -> CaseVerdict:
        """Return the verdict on a snapshot against another, with everything at hand that explains a difference."""
        verdict = compare(
            baseline,
            snapshot,
            self.tolerances,
            directions={**self.directions, **directions_of(snapshot.identity)},
            difference_test=None if self.evidence is None else self.evidence.difference_test(baseline, snapshot),
            labels=labels,
        )
        if verdict.identity and self.evidence is not None:
            return replace(verdict, data=self.evidence.data_difference(baseline, snapshot))
        return verdict


@dataclass(frozen=True)
class CaseRun:
    """What became of a case; without a snapshot when it failed, or when there was nothing to run."""

    verdict: CaseVerdict
    snapshot: Snapshot | None = None


def named_suite(name: str, search_path: Folders = ()) -> Suite:
    """Return a suite by the name of its file in ``suites/``, or by a path that ends in ``.yaml``, see `SuiteFile`.

    The suite's overrides come before those of every case. Raises `ConfigError` when there is no such file, or it holds
    an unknown key, no case, or the same case twice, and `SnapshotError` when a name cannot be that of a folder.
    """
    path = _file("suites", name, search_path)
    file = record_from(SuiteFile, read_yaml(path, "suites"), str(path))
    listed = (case for at, entry in enumerate(file.cases) for case in entry.expanded(f"{path}: cases[{at}]"))
    cases = tuple(replace(case, overrides=(*file.overrides, *case.overrides)) for case in listed)
    names = [case.case for case in cases]
    check_names((path.stem, *names), str(path))
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not cases:
        what = "A case occurs twice." if repeated else "A suite has cases."
        got, expected = ", ".join(repeated) or "none", "- case: NAME, each name once, with what `each` adds to it"
        raise ConfigError(what, where=f"{path}: cases", got=got, expected=expected)
    return Suite(path.stem, file.regression, cases)


def run_suite(
    suite: Suite, run: Run, standard: Standard, tell: Callable[[CaseRun], None] = lambda _: None
) -> tuple[CaseRun, ...]:
    """Run every case and hold it to its baseline; baselines without a case follow as findings of their own.

    A case that fails because of a user's mistake, or whose baseline is damaged, is reported, and the others run.

    Args:
        run: Overrides → result; suite and case are given by the overrides ``suite=…`` and ``case=…``.
        tell: Hears of every case as soon as it has ended.
    """
    gone = standard.baselines.orphans(suite.name, [case.case for case in suite.cases])
    runs = []
    for case in suite.cases:
        runs.append(run_case(suite, case, run, standard))
        tell(runs[-1])
    return (*runs, *(CaseRun(CaseVerdict.without(suite.name, name, Problem.ORPHANED)) for name in gone))


def run_case(suite: Suite, case: Case, run: Run, standard: Standard) -> CaseRun:
    """Run one case and hold it to its baseline; one that lacks its data, or whose baseline is damaged, is not run."""
    names = (suite.name, case.case)
    absent = [path for path in case.needs if not Path(path).expanduser().exists()]
    if absent:
        why = f"it needs {', '.join(absent)}, which is not there"
        return CaseRun(CaseVerdict.without(*names, Problem.SKIPPED, why))
    try:
        standard.baselines.history(*names)
    except SnapshotError as error:
        return CaseRun(CaseVerdict.without(*names, Problem.DAMAGED, str(error)))
    snapshot = None
    try:
        snapshot = run((*case.overrides, f"suite='{suite.name}'", f"case='{case.case}'")).snapshot
        if (snapshot.suite, snapshot.case) != names:
            what, got = "The run left a snapshot of another case.", f"{snapshot.suite}/{snapshot.case}"
            raise SnapshotError(what, got=got, expected="/".join(names))
        return CaseRun(standard.judge(snapshot), snapshot)
    except HarnessError as error:
        problem = Problem.CRASHED if isinstance(error, ExperimentError) else Problem.FAILED
        return CaseRun(CaseVerdict.without(*names, problem, str(error)), snapshot)


def standard_of(
    results: Path,
    tolerances: Tolerances | Mapping[str, Any] | Path | str,
    *,
    directions: Mapping[str, Direction] | None = None,
    store: Path | None = None,
    search_path: Folders = (),
) -> Standard:
    """Return what snapshots are held to; raises `ConfigError` when there are no such tolerances, or with a mistake.

    Args:
        results: The folder of the baselines.
        tolerances: Name of a file in ``regression/``, a path, the content of such a file, or `Tolerances`.
        directions: Which way a metric of one's own is better, beside those of the harness.
        store: The artifact store in which series and panels are looked up; None looks nothing up.
        search_path: Folders with further ``regression/`` files.
    """
    if isinstance(tolerances, str | Path):
        tolerances = named_tolerances(tolerances, search_path)
    elif isinstance(tolerances, Mapping):
        tolerances = parse_tolerances(tolerances)
    evidence = None if store is None else Evidence(ArtifactStore(store))
    return Standard(Baselines(results), tolerances, {**directions_of(), **(directions or {})}, evidence)


def named_tolerances(name: str | Path, search_path: Folders = ()) -> Tolerances:
    """Return tolerances by the name of their file in ``regression/``, or by a path; one in text ends in ``.yaml``."""
    return load_tolerances(_file("regression", name, search_path))


def suite_names(search_path: Folders = ()) -> tuple[str, ...]:
    """Return the names of all suites, those of the search path included."""
    return tuple(sorted({path.stem for folder in _folders("suites", search_path) for path in folder.glob("*.yaml")}))


def _file(kind: str, name: str | Path, search_path: Folders) -> Path:
    if isinstance(name, Path) or name.endswith(".yaml"):
        return Path(name)
    *others, own = (folder / f"{name}.yaml" for folder in _folders(kind, search_path))
    return next((path for path in others if path.is_file()), own)


def _folders(kind: str, search_path: Folders) -> list[Path]:
    return [folder / kind for folder in (*(search_folder(Path(given)) for given in search_path), config_folder())]

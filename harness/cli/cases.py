"""What the commands on snapshots share: which cases are meant, what they are held to, how they are run."""

from __future__ import annotations

import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.audit import run_audited
from harness.config import compose_config
from harness.errors import ConfigError, ExperimentError, HarnessError, closest, refused_by_the_system
from harness.errors.redaction import redacted
from harness.execution.progress import Countdown, Observer
from harness.run.experiment import ExperimentResult
from harness.run.stages import Cache
from harness.snapshots.baseline import Referenced, at_path
from harness.snapshots.suite import CaseRun, Standard, Suite, named_suite, run_case, run_suite, standard_of, suite_names
from harness.snapshots.verdicts import CaseVerdict, Problem
from harness.store.artifacts import MemoryCache


@dataclass(frozen=True)
class Selection:
    """What a command is about.

    Attributes:
        suites: Suites with the cases that are meant, and whether that is all of them.
        recorded: Snapshots of runs that are there already.
        overrides: Added to those of every case.
    """

    suites: tuple[tuple[Suite, bool], ...]
    recorded: tuple[Referenced, ...]
    overrides: tuple[str, ...]


def select(arguments: Namespace) -> Selection:
    """Return what the targets of a command mean; raises `HarnessError` when there are none, or one names nothing."""
    chosen: dict[str, tuple[Suite, set[str] | None]] = {}
    recorded, overrides = [], []
    for text in arguments.targets:
        target = text.removeprefix("suite=")
        if (found := at_path(target)) is not None:
            recorded.append(found)
        elif "=" in target and not target.endswith(".yaml"):
            overrides.append(target)
        else:
            suite, case = _named(target, arguments.config_dir)
            cases = chosen.get(suite.name, (suite, set()))[1]
            chosen[suite.name] = (suite, None if case is None or cases is None else {*cases, case})
    if not chosen and not recorded:
        expected = "a suite, a case, a run's folder or its snapshot.json"
        hint = f"there are the suites {', '.join(suite_names(arguments.config_dir))}"
        raise ConfigError("Nothing is chosen.", where="TARGET", expected=expected, hint=hint)
    suites = []
    for suite, cases in chosen.values():
        meant = tuple(case for case in suite.cases if cases is None or case.case in cases)
        suites.append((replace(suite, cases=meant), cases is None))
    selection = Selection(tuple(suites), tuple(recorded), tuple(overrides))
    return selection if arguments.name is None else _renamed(selection, arguments.name)


def _named(target: str, search_path: Sequence[str | Path]) -> tuple[Suite, str | None]:
    """Return the suite that a target names, and the case of it, None for all."""
    names = suite_names(search_path)
    if target.endswith(".yaml") or target in names:
        return named_suite(target, search_path), None
    suite_name, slash, case_name = target.rpartition("/")
    if slash and suite_name not in names and not suite_name.endswith(".yaml"):
        return named_suite(suite_name, search_path), None  # raises, and names the suites that there are
    suites = [named_suite(name, search_path) for name in ([suite_name] if slash else names)]
    found = [suite for suite in suites if case_name in {case.case for case in suite.cases}]
    if len(found) == 1:
        return found[0], case_name
    known = [f"{suite.name}/{case.case}" for suite in suites for case in suite.cases]
    what = "Several suites have a case of this name." if found else "There is no such suite, case or run."
    expected = ", ".join([*names, *([f"{suite.name}/{case_name}" for suite in found] or known)])
    hint = None if found else closest(target, [*names, *known, *(name.partition("/")[2] for name in known)])
    raise ConfigError(what, where="TARGET", got=target, expected=expected, hint=hint)


def _renamed(selection: Selection, name: str) -> Selection:
    suite, slash, case = name.partition("/")
    if not slash or any(not part or part.startswith(".") or "/" in part for part in (suite, case)):
        raise ConfigError("A baseline is named by suite and case.", where="--as", got=name, expected="SUITE/CASE")
    if selection.suites or len(selection.recorded) != 1:
        what = "Only one run can be taken for another case."
        raise ConfigError(what, where="--as", got=name, expected="the folder of one run")
    (reference,) = selection.recorded
    renamed = replace(reference, snapshot=replace(reference.snapshot, suite=suite, case=case))
    return replace(selection, recorded=(renamed,))


def standard_for(arguments: Namespace, regression: str, overrides: Sequence[str]) -> Standard:
    where, search_path = [text for text in overrides if text.startswith("output")], arguments.config_dir
    store = Path(compose_config(where, search_path=search_path).output.store)
    tolerances = arguments.regression or regression
    return standard_of(Path(arguments.results), tolerances, store=store, search_path=search_path)


class CaseRunner:
    """Runs cases, each audited at its own level. They share their large stages in memory.

    Args:
        overrides, search_path: Added to those of every case.
        observer: Where progress goes.
        keep: Case and traceback of a crash → where it is found, for people. The crash is then an error of its case and
            stops no other; without `keep` it ends the command.

    Attributes:
        folders: Of the runs so far.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        search_path: Sequence[str | Path],
        observer: Observer,
        keep: Callable[[str, str], str] | None = None,
    ) -> None:
        self._overrides, self._search_path, self._observer, self._keep = overrides, search_path, observer, keep
        self._memory = MemoryCache()
        self._seconds: float | None = None
        self.folders: list[Path] = []

    def __call__(self, overrides: tuple[str, ...]) -> ExperimentResult:
        began = time.perf_counter()
        try:
            config = compose_config([*overrides, *self._overrides], search_path=self._search_path)
            result = run_audited(config, self._observer, Cache.of(config, self._memory))[0]
        except HarnessError:
            raise
        except Exception as error:
            if self._keep is None:
                raise
            refusal = refused_by_the_system(error) if isinstance(error, OSError) else None
            if refusal is not None:
                raise refusal from error
            # A bug in one case, in a user's model say, must not stop the others.
            place = self._keep(overrides[-1].partition("=")[2].strip("'"), redacted(traceback.format_exc()))
            what = redacted(f"{type(error).__name__}: {error}")
            raise ExperimentError("The experiment crashed.", got=what, hint=f"the traceback is {place}") from error
        self._seconds = None if getattr(result, "reused", False) else time.perf_counter() - began
        self.folders.append(result.folder)
        return result

    def last_seconds(self) -> float | None:
        """Return the seconds of the case that was run since the last call; None when none was computed."""
        seconds, self._seconds = self._seconds, None
        return seconds


def run_selection(
    selection: Selection, arguments: Namespace, observer: Observer, run: CaseRunner | None = None
) -> tuple[CaseRun, ...]:
    """Run every case that is meant and hold it to its baseline; hold recorded runs to theirs.

    Baselines without a case are findings where a whole suite is meant. By default the traceback of a case that crashes
    is a notice.
    """

    def keep(case: str, trace: str) -> str:
        observer.notice(f"{case}: {trace}")
        return "above"

    runner = run or CaseRunner(selection.overrides, arguments.config_dir, observer, keep)
    total = sum(len(suite.cases) for suite, _ in selection.suites) + len(selection.recorded)
    countdown, ended = Countdown(observer, "cases", total), list[CaseRun]()

    def count(_: CaseRun) -> None:
        countdown.ended(runner.last_seconds())

    for suite, is_whole in selection.suites:
        standard = standard_for(arguments, suite.regression, selection.overrides)
        if is_whole:
            ended += run_suite(suite, runner, standard, count)
            continue
        for case in suite.cases:
            ended.append(run_case(suite, case, runner, standard))
            count(ended[-1])
    for reference in selection.recorded:
        ended.append(_judge(reference, standard_for(arguments, "default", selection.overrides)))
        count(ended[-1])
    countdown.finish()
    return tuple(ended)


def _judge(reference: Referenced, standard: Standard) -> CaseRun:
    snapshot = reference.snapshot
    try:
        return CaseRun(standard.judge(snapshot, reference.label), snapshot)
    except HarnessError as error:
        return CaseRun(CaseVerdict.without(snapshot.suite, snapshot.case, Problem.FAILED, str(error)), snapshot)

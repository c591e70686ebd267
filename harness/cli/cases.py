"""What the commands on snapshots share: which cases are meant, what they are held to, how they are run."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.audit import run_audited
from harness.cli.shared import Arguments
from harness.config import compose_config
from harness.errors import (
    ConfigError,
    ExperimentError,
    HarnessError,
    SnapshotError,
    closest,
    refused_by_the_system,
)
from harness.errors.redaction import redacted
from harness.execution.progress import Countdown, Observer
from harness.run.experiment import ExperimentResult
from harness.snapshots.baseline import Baselines, Referenced
from harness.snapshots.comparison import damaged, failed
from harness.snapshots.snapshot import read_snapshot
from harness.snapshots.suite import (
    CaseRun,
    Result,
    Run,
    Standard,
    Suite,
    named_suite,
    run_case,
    run_suite,
    standard_of,
    suite_names,
)
from harness.store.artifacts import Shelf
from harness.store.files import write_atomically

EXIT_CODES = """\
exit codes: 0 fine, 1 regression (a crash, a leak, missing and orphaned baselines too), 2 a mistake of the user (damaged
baselines too), 3 not comparable, 130 interrupted (143 by SIGTERM, 129 by SIGHUP)"""
_RUN_FILE = "snapshot.json"


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

    @property
    def count(self) -> int:
        """Return the number of cases."""
        return sum(len(suite.cases) for suite, _ in self.suites) + len(self.recorded)


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the folder of the baselines."""
    parser.add_argument(
        "--results", default="results", metavar="FOLDER", help="folder of the baselines (default: results)"
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which cases are meant and what they are held to."""
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="a suite (smoke, or a path ending in .yaml), a case (linear, or smoke/linear), a run's folder or "
        "snapshot.json, or KEY=VALUE for every case (output.store=FOLDER)",
    )
    add_results(parser)
    parser.add_argument("--as", dest="name", metavar="SUITE/CASE", help="take one run's folder for this case")
    parser.add_argument(
        "--regression",
        metavar="NAME",
        help="tolerances instead of the suite's: a name or a path ending in .yaml",
    )
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder with your own configuration groups, suites/ and regression/",
    )


def select(arguments: Arguments) -> Selection:
    """Return what the targets of a command mean.

    Raises:
        HarnessError: When there are none, or one of them names nothing.
    """
    chosen: dict[str, tuple[Suite, set[str] | None]] = {}
    recorded, overrides = [], []
    for text in arguments.targets:
        target = text.removeprefix("suite=")
        path = Path(target)
        if path.suffix == ".json" or (path / _RUN_FILE).is_file():
            file = path / _RUN_FILE if path.is_dir() else path
            recorded.append(Referenced(target, read_snapshot(file)))
        elif "=" in target and not target.endswith(".yaml"):
            overrides.append(target)
        else:
            suite, case = _named(target, arguments.config_dir)
            cases = chosen.get(suite.name, (suite, set()))[1]
            chosen[suite.name] = (suite, None if case is None or cases is None else {*cases, case})
    if not chosen and not recorded:
        raise ConfigError(
            "Nothing is chosen.",
            where="TARGET",
            expected="a suite, a case, a run's folder or its snapshot.json",
            hint=f"there are the suites {', '.join(suite_names(arguments.config_dir))}",
        )
    selection = Selection(
        tuple((_part(suite, cases), cases is None) for suite, cases in chosen.values()),
        tuple(recorded),
        tuple(overrides),
    )
    return selection if arguments.name is None else _renamed(selection, arguments.name)


def baselines_of(arguments: Arguments) -> Baselines:
    """Return the baselines that a command reads or writes."""
    return Baselines(Path(arguments.results))


def standard_for(arguments: Arguments, regression: str, overrides: Sequence[str] = ()) -> Standard:
    """Return what is compared with: baselines, tolerances, and the store that explains differences."""
    where = [o for o in overrides if o.startswith("output")]
    search_path = getattr(arguments, "config_dir", [])
    store = compose_config(where, search_path=search_path).output.store
    return standard_of(
        Path(arguments.results),
        getattr(arguments, "regression", None) or regression,
        store=Path(store),
        search_path=search_path,
    )


class Runner:
    """Runs the experiment of a case, and audits it at the case's own level: overrides in, result out.

    The cases share their large stages in memory.
    """

    def __init__(self, overrides: Sequence[str], search_path: Sequence[str | Path], observer: Observer) -> None:
        self._overrides = tuple(overrides)
        self._search_path = search_path
        self._observer = observer
        self._shelf = Shelf()

    def __call__(self, overrides: tuple[str, ...]) -> ExperimentResult:
        """Compose and run."""
        config = compose_config([*overrides, *self._overrides], search_path=self._search_path)
        return run_audited(config, self._observer, shelf=self._shelf)[0]


class Surviving:
    """Runs cases so that none stops another: a crash becomes an error of its case, and its traceback is kept.

    Args:
        run: Runs one case.
        keep: Case and traceback → where it is found, for people.
    """

    def __init__(self, run: Runner, keep: Callable[[str, str], str]) -> None:
        self._run = run
        self._keep = keep
        self.folders: list[Path] = []

    def __call__(self, overrides: tuple[str, ...]) -> ExperimentResult:
        """Run one case."""
        try:
            result = self._run(overrides)
        except HarnessError:
            raise
        except Exception as error:
            refusal = refused_by_the_system(error) if isinstance(error, OSError) else None
            if refusal is not None:
                raise refusal from error
            # A bug in one case, in a user's model say, must not stop the others.
            place = self._keep(overrides[-1].partition("=")[2].strip("'"), redacted(traceback.format_exc()))
            what = redacted(f"{type(error).__name__}: {error}")
            raise ExperimentError("The experiment crashed.", got=what, hint=f"the traceback is {place}") from error
        self.folders.append(result.folder)
        return result


def runner(selection: Selection, arguments: Arguments, observer: Observer) -> Runner:
    """Return what runs the cases of a selection."""
    return Runner(selection.overrides, arguments.config_dir, observer)


def run_selection(
    selection: Selection, arguments: Arguments, observer: Observer, run: Run | None = None
) -> tuple[CaseRun, ...]:
    """Run every case that is meant and hold it to its baseline; hold recorded runs to theirs.

    Baselines without a case are findings where a whole suite is meant. `run` stands in for `runner`'s.
    """

    def told(case: str, trace: str) -> str:
        observer.notice(f"{case}: {trace}")
        return "above"

    run = run or Surviving(runner(selection, arguments, observer), told)
    countdown = Countdown(observer, "cases", selection.count)
    timed, ended = Timed(run), list[CaseRun]()

    def tell(_: CaseRun) -> None:
        countdown.ended(timed.last())

    for suite, is_whole in selection.suites:
        standard = standard_for(arguments, suite.regression, selection.overrides)
        if is_whole:
            ended += run_suite(suite, timed, standard, tell)
        else:
            for case in suite.cases:
                ended.append(run_case(suite, case, timed, standard))
                tell(ended[-1])
    if selection.recorded:
        standard = standard_for(arguments, "default", selection.overrides)
        for reference in selection.recorded:
            ended.append(_judge(reference, standard))
            tell(ended[-1])
    countdown.finish()
    return tuple(ended)


class Timed:
    """Runs cases and remembers what the last one took, unless it was found in the store."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._took: float | None = None

    def __call__(self, overrides: tuple[str, ...]) -> Result:
        """Run one case."""
        began = time.perf_counter()
        result = self._run(overrides)
        self._took = None if getattr(result, "reused", False) else time.perf_counter() - began
        return result

    def last(self) -> float | None:
        """Return the seconds of the case that was run since the last call; None when none was computed."""
        took, self._took = self._took, None
        return took


def write_file(path: str, text: str, option: str) -> None:
    """Write a file that an option names, atomically.

    Raises:
        ConfigError: When it cannot be written.
    """
    try:
        write_atomically(Path(path), text.encode())
    except OSError as error:
        raise ConfigError(
            "The file cannot be written.",
            where=option,
            got=f"{path}: {type(error).__name__}",
            expected="a file in a folder that you may write to",
        ) from error


def _renamed(selection: Selection, name: str) -> Selection:
    suite, slash, case = name.partition("/")
    if not slash or any(not part or part.startswith(".") or "/" in part for part in (suite, case)):
        raise ConfigError("A baseline is named by suite and case.", where="--as", got=name, expected="SUITE/CASE")
    if selection.suites or len(selection.recorded) != 1:
        raise ConfigError(
            "Only one run can be taken for another case.", where="--as", got=name, expected="the folder of one run"
        )
    (reference,) = selection.recorded
    renamed = Referenced(reference.label, replace(reference.snapshot, suite=suite, case=case))
    return replace(selection, recorded=(renamed,))


def _judge(reference: Referenced, standard: Standard) -> CaseRun:
    snapshot = reference.snapshot
    try:
        standard.baselines.history(snapshot.suite, snapshot.case)
    except SnapshotError as error:
        return CaseRun(damaged(snapshot.suite, snapshot.case, str(error)), snapshot)
    try:
        return CaseRun(standard.judge(snapshot, reference.label), snapshot)
    except HarnessError as error:
        return CaseRun(failed(snapshot.suite, snapshot.case, str(error)), snapshot)


def _part(suite: Suite, cases: set[str] | None) -> Suite:
    return suite if cases is None else replace(suite, cases=tuple(c for c in suite.cases if c.name in cases))


def _named(target: str, search_path: Sequence[str | Path]) -> tuple[Suite, str | None]:
    """Return the suite that a target names, and the case of it, None for all."""
    names = suite_names(search_path)
    if target.endswith(".yaml") or target in names:
        return named_suite(target, search_path), None
    suite_name, slash, case_name = target.rpartition("/")
    if slash and suite_name not in names and not suite_name.endswith(".yaml"):
        return named_suite(suite_name, search_path), None  # raises, and names the suites that there are
    candidates = [suite_name] if slash else names
    suites = [named_suite(name, search_path) for name in candidates]
    found = [suite for suite in suites if case_name in {case.name for case in suite.cases}]
    if len(found) == 1:
        return found[0], case_name
    known = [f"{suite.name}/{case.name}" for suite in suites for case in suite.cases]
    raise ConfigError(
        "Several suites have a case of this name." if found else "There is no such suite, case or run.",
        where="TARGET",
        got=target,
        expected=", ".join([*names, *(f"{s.name}/{case_name}" for s in found)] if found else [*names, *known]),
        hint=None if found else closest(target, [*names, *known, *(name.partition("/")[2] for name in known)]),
    )

"""`bench check`, `bench bless` and `bench nightly`: run cases, hold them to their baselines, bless what is right."""

from __future__ import annotations

import importlib.util
import os
import shlex
import time
import traceback
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from harness.audit.audited import run_audited
from harness.cli.declaration import Answer
from harness.cli.streams import write_file
from harness.config import compose_config
from harness.config.reference import ReferenceResults, reference_results
from harness.config.tolerances import Learned, Tolerances, write_tolerances
from harness.errors import ConfigError, ExperimentError, HarnessError, closest, refused_by_the_system
from harness.errors.redaction import redacted
from harness.execution.progress import Countdown, Observer, PlainObserver
from harness.report import check_output
from harness.report.leaderboard import refresh
from harness.report.reproduction import FILE, reproduce, write_published
from harness.report.table import Table
from harness.run.experiment import ExperimentResult
from harness.run.finished import LEADERBOARD, FinishedRun, folders_under
from harness.run.stages import Cache
from harness.snapshots.baseline import Baselines, Referenced, Version, at_path
from harness.snapshots.comparison import learn
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.suite import (
    CaseRun,
    Standard,
    Suite,
    named_suite,
    named_tolerances,
    run_suite,
    standard_of,
    suite_names,
)
from harness.snapshots.verdicts import CaseVerdict, Problem, Verdict, worst_exit_code
from harness.store.artifacts import MemoryCache, canonical_json
from harness.store.files import file_name

_FEWEST_SEEDS = 2
_COMMENT = """\
Written by `{command}`: standard deviations over the seeds 1 … {last}.
What no seed moves keeps its rule of {base}, below."""
_IN_THE_WAY = (Problem.FAILED, Problem.CRASHED, Problem.DAMAGED, Problem.LEAK)
# What leaves a baseline that the leaderboard shows.
_STANDS = ("blessed", "unchanged", "kept")


@dataclass(frozen=True)
class Selection:
    """What a command is about; `overrides` are added to those of every case."""

    suites: tuple[tuple[Suite, bool], ...]  # with the cases that are meant, and whether that is all of them
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
    if arguments.name is not None:
        recorded = [_renamed(arguments.name, suites, recorded)]
    return Selection(tuple(suites), tuple(recorded), tuple(overrides))


def _named(target: str, search_path: Sequence[str | Path]) -> tuple[Suite, str | None]:
    """Return the suite that a target names, and the case of it, None for all."""
    names = suite_names(search_path)
    if target.endswith(".yaml") or target in names:
        return named_suite(target, search_path), None
    if "/" in target and Path(target).is_dir():
        what, expected = "The folder holds no run.", "snapshot.json in it, or the name of a suite or a case"
        hint = "the runs of a sweep lie beside its folder" if (Path(target) / LEADERBOARD).is_file() else None
        raise ConfigError(what, where="TARGET", got=target, expected=expected, hint=hint)
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


def _renamed(name: str, suites: Sequence[object], recorded: Sequence[Referenced]) -> Referenced:
    suite, _, case = name.partition("/")
    if suites or len(recorded) != 1 or any(not part or part.startswith(".") or "/" in part for part in (suite, case)):
        what, expected = "Only one run can be taken for a case.", "SUITE/CASE, and the folder of one run"
        raise ConfigError(what, where="--as", got=name, expected=expected)
    return replace(recorded[0], snapshot=replace(recorded[0].snapshot, suite=suite, case=case))


def standard_for(arguments: Namespace, regression: str, overrides: Sequence[str]) -> Standard:
    where, search_path = [text for text in overrides if text.startswith("output")], arguments.config_dir
    store = Path(compose_config(where, search_path=search_path).output.store)
    tolerances = arguments.regression or regression
    return standard_of(Path(arguments.results), tolerances, store=store, search_path=search_path)


@dataclass
class CaseRunner:
    """Runs cases, each audited at its own level. They share their large stages in memory.

    A case that crashes stops no other: its traceback goes to the folder `crashes`, or is a notice.
    """

    overrides: Sequence[str]  # added to those of every case
    search_path: Sequence[str | Path]
    observer: Observer
    crashes: Path | None = None
    seconds: float | None = None  # of the case that was run last; None when it was not computed
    folders: list[Path] = field(default_factory=list)
    memory: MemoryCache = field(default_factory=MemoryCache)

    def __call__(self, overrides: tuple[str, ...]) -> ExperimentResult:
        began = time.perf_counter()
        try:
            config = compose_config([*overrides, *self.overrides], search_path=self.search_path)
            result = run_audited(config, self.observer, Cache.of(config, self.memory))[0]
        except HarnessError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and (refusal := refused_by_the_system(error)) is not None:
                raise refusal from error
            # A bug in one case, in a user's model say, must not stop the others.
            place = self._kept(overrides[-1].partition("=")[2].strip("'"), redacted(traceback.format_exc()))
            what = redacted(f"{type(error).__name__}: {error}")
            raise ExperimentError("The experiment crashed.", got=what, hint=f"the traceback is {place}") from error
        self.seconds = None if getattr(result, "reused", False) else time.perf_counter() - began
        self.folders.append(result.folder)
        return result

    def _kept(self, case: str, trace: str) -> str:
        """Keep the traceback of a crash, and return where, for people."""
        if self.crashes is None:
            self.observer.notice(f"{case}: {trace}")
            return "above"
        path = self.crashes / f"crash-{file_name(case)}.txt"
        write_file(path, trace, "--out")
        return f"in {path}"

    def count(self, countdown: Countdown) -> None:
        """Tell the countdown that a case has ended, whether or not it was run."""
        countdown.ended(self.seconds)
        self.seconds = None


def run_selection(selection: Selection, arguments: Namespace, run: CaseRunner) -> tuple[CaseRun, ...]:
    """Run every case that is meant and hold it to its baseline; hold recorded runs to theirs.

    Baselines without a case are findings where a whole suite is meant.
    """
    total = sum(len(suite.cases) for suite, _ in selection.suites) + len(selection.recorded)
    countdown, ended = Countdown(run.observer, "cases", total), list[CaseRun]()
    for suite, is_whole in selection.suites:
        standard = standard_for(arguments, suite.regression, selection.overrides)
        ran = run_suite(suite, run, standard, lambda _: run.count(countdown))
        ended += ran if is_whole else ran[: len(suite.cases)]
    for reference in selection.recorded:
        ended.append(_judge(reference, standard_for(arguments, "default", selection.overrides)))
        run.count(countdown)
    countdown.finish()
    return tuple(ended)


def _judge(reference: Referenced, standard: Standard) -> CaseRun:
    snapshot = reference.snapshot
    try:
        return CaseRun(standard.judge(snapshot, reference.label), snapshot)
    except HarnessError as error:
        return CaseRun(CaseVerdict.without(snapshot.suite, snapshot.case, Problem.FAILED, str(error)), snapshot)


def shown_verdicts(verdicts: Sequence[CaseVerdict], *, all_metrics: bool = False) -> Iterator[Table | Text]:
    """Yield the verdicts as people read them: a table of the cases, then the findings of each."""
    yield check_output.verdicts_table(verdicts)
    for verdict in verdicts:
        if not all_metrics and verdict.verdict is Verdict.SAME:
            continue
        sides = f"{verdict.baseline} → {verdict.candidate}: " if verdict.baseline is not None else ""
        yield Text(f"{verdict.suite}/{verdict.case}: {sides}{verdict.detail or verdict.basis_reason}", "bold")
        for line in check_output.identity_lines(verdict, hint=": --json shows them"):
            yield Text(f"  {line}")
        if verdict.identity and not all_metrics:
            overall = tuple(metric for metric in verdict.metrics if metric.path.startswith("overall."))
            yield check_output.metrics_table(replace(verdict, metrics=overall), all_metrics=True)
        elif verdict.metrics and (all_metrics or verdict.findings):
            yield check_output.metrics_table(verdict, all_metrics=all_metrics, hint=": --all or --json shows them")


def check(arguments: Namespace, observer: PlainObserver) -> Answer:
    selection = select(arguments)
    if arguments.learn is not None:
        return _learn(selection, arguments, observer)
    run = CaseRunner(selection.overrides, arguments.config_dir, observer)
    verdicts = [ran.verdict for ran in run_selection(selection, arguments, run)]
    if arguments.junit is not None:
        write_file(Path(arguments.junit), check_output.to_junit_xml(verdicts), "--junit")
    shown = list(shown_verdicts(verdicts, all_metrics=arguments.all))
    return Answer(shown, check_output.to_json(verdicts), int(worst_exit_code(verdicts)))


def _learn(selection: Selection, arguments: Namespace, observer: PlainObserver) -> Answer:
    given = arguments.learn.removeprefix("seeds=")
    if not given.isdecimal() or int(given) < _FEWEST_SEEDS:
        what, expected = "A spread needs seeds.", f"seeds=K with K ≥ {_FEWEST_SEEDS}"
        raise ConfigError(what, where="--learn", got=arguments.learn, expected=expected)
    if len(selection.suites) != 1 or selection.recorded:
        what, got = "Tolerances are learned for one suite.", " ".join(arguments.targets)
        raise ConfigError(what, where="TARGET", got=got, expected="a suite")
    ((suite, _),), seeds = selection.suites, int(given)
    run = CaseRunner(selection.overrides, arguments.config_dir, observer)
    countdown = Countdown(observer, "runs", len(suite.cases) * seeds)
    snapshots: list[Snapshot] = []
    for case in suite.cases:
        names = (f"suite='{suite.name}'", f"case='{case.case}'")
        for seed in range(1, seeds + 1):
            snapshots.append(run((*case.overrides, f"seed={seed}", "audit=none", *names)).snapshot)
            run.count(countdown)
    countdown.finish()
    configured = named_tolerances(arguments.regression or suite.regression, arguments.config_dir)
    found = learn(snapshots).metrics.items()
    moved = {name: rule for name, rule in found if isinstance(rule, Learned) and rule.learned > 0.0}
    rest = {name: rule for name, rule in configured.metrics.items() if name not in moved}
    learned: Tolerances = replace(configured, metrics=moved | rest)
    folder = arguments.config_dir[0] if arguments.config_dir else "conf"
    path = arguments.out or f"{folder}/regression/learned-{suite.name}.yaml"
    command = f"bench check {shlex.join(arguments.targets)} --learn seeds={seeds}"
    write_tolerances(learned, path, comment=_COMMENT.format(command=command, last=seeds, base=suite.regression))
    count = sum(isinstance(rule, Learned) for rule in learned.metrics.values())
    hint = f"`regression: {path}` in the suite holds its cases to them"
    return Answer([f"{count} learned tolerances written to {path}", hint])


def bless(arguments: Namespace, observer: PlainObserver) -> Answer:
    """Show the differences, write the next versions, and say with the exit code whether a case was in the way."""
    if not arguments.dry_run and not (arguments.reason or "").strip():
        what, expected = "A blessing needs a reason.", "one sentence: what changed, and why"
        raise ConfigError(what, where="--reason", expected=expected)
    selection, published = select(arguments), reference_results(arguments.config_dir)
    runner = CaseRunner(selection.overrides, arguments.config_dir, observer)
    runs = run_selection(selection, arguments, runner)
    verdicts = [run.verdict for run in runs]
    shown: list[Table | Text | str] = [*shown_verdicts(verdicts, all_metrics=arguments.all)]
    records, stands, notes, errors = [], False, list[str](), list[HarnessError | OSError]()
    for run, verdict in zip(runs, verdicts, strict=True):
        try:
            action, version = _bless(run, Baselines(Path(arguments.results)), arguments)
        except (HarnessError, OSError) as error:  # what was written before is shown all the same
            errors.append(error)
            break
        stands |= action in _STANDS and not arguments.dry_run
        line = f"{action:<10} {verdict.suite}/{verdict.case}"
        if verdict.problem is Problem.LEAK:
            line = f"refused    {verdict.suite}/{verdict.case}: {verdict.detail}"
        number, path = (None, None) if version is None else (version.number, str(version.path))
        shown.append(line if number is None else f"{line} v{number}: {path}")
        record = check_output.case_record(verdict)
        records.append({"action": action, "version": number, "path": path, "verdict": record})
    try:
        if stands:
            board = refresh(Path(arguments.results))
            notes += [] if board is None else [f"written    {board}"]
            given = (Path(reference.label) for reference in selection.recorded)
            folders = [*runner.folders, *(path if path.is_dir() else path.parent for path in given)]
            touched = {run.snapshot.suite for run in runs if run.snapshot is not None}
            notes += _published(touched, folders, Baselines(Path(arguments.results)), published)
    except (HarnessError, OSError) as error:  # the baseline of another case may be damaged
        errors.append(error)
    code = worst_exit_code([verdict for verdict in verdicts if verdict.problem in _IN_THE_WAY])
    return Answer(shown, records, HarnessError.exit_code if errors else int(code), notes, errors)


def _published(
    suites: Iterable[str], folders: Sequence[Path], baselines: Baselines, published: Sequence[ReferenceResults]
) -> Iterator[str]:
    """Write, for each suite, the published tables beside its newest baselines; yield what became of each page.

    The runs behind these are looked for in the folders and beside them: cases are blessed one by one too. A suite of
    which a run is not at hand keeps the page that it has.
    """
    newest = {
        suite: [one.snapshot for case in baselines.cases(suite) if (one := baselines.baseline(suite, case))]
        for suite in sorted(suites)
    }
    kept = _runs_of({_content(one) for snapshots in newest.values() for one in snapshots}, folders)
    for suite, snapshots in newest.items():
        page, lacking = baselines.root / suite / FILE, [one for one in snapshots if _content(one) not in kept]
        there = () if lacking else [replace(kept[_content(one)], name=one.case) for one in snapshots]
        if found := reproduce(there, published):
            if write_published(found, page.parent) is not None:
                yield f"written    {page}"
        elif page.is_file():
            why = f"the run of {lacking[0].case} is not at hand" if lacking else "no published row belongs to a run"
            yield f"kept       {page}, as it was: {why}"


def _runs_of(wanted: Collection[str], folders: Sequence[Path]) -> dict[str, FinishedRun]:
    """Return content → the run that has it, of the runs in the folders and beside them."""
    placed = [Path(os.path.abspath(folder)) for folder in folders]
    beside = [run for parent in dict.fromkeys(folder.parent for folder in placed) for run in folders_under(parent)[1]]
    kept: dict[str, FinishedRun] = {}
    for folder in dict.fromkeys([*placed, *beside]):
        with suppress(HarnessError, OSError):  # a damaged run is the baseline of nothing
            run = FinishedRun.read(folder)
            if (key := _content(run.snapshot)) in wanted and key not in kept and run.series.times.size:
                kept[key] = run
    return kept


def _content(snapshot: Snapshot) -> str:
    """What two snapshots of one run have in common, whichever suite and case they are taken for."""
    return canonical_json([snapshot.identity, snapshot.metrics])


def _bless(run: CaseRun, baselines: Baselines, arguments: Namespace) -> tuple[str, Version | None]:
    """Bless a case unless something is in the way; return what became of it."""
    problem, snapshot = run.verdict.problem, run.snapshot
    if snapshot is None or problem not in (None, Problem.NO_BASELINE):
        return "failed" if problem is None else problem.name.lower(), None
    latest = baselines.baseline(snapshot.suite, snapshot.case)
    if latest is not None and latest.snapshot.digest == snapshot.digest:
        return "unchanged", None
    if latest is not None and arguments.new_only:
        return "kept", None
    if arguments.dry_run:
        return "would be", None
    return "blessed", baselines.bless(snapshot, arguments.reason, only_new=arguments.new_only)


def nightly(arguments: Namespace, observer: PlainObserver) -> Answer:
    selection = select(arguments)
    if selection.recorded or not selection.suites:
        what, got = "A night runs suites.", " ".join(arguments.targets)
        raise ConfigError(what, where="TARGET", got=got, expected="suite=NAME")
    folder, results = Path(arguments.out), reference_results(arguments.config_dir)  # a mistake there ends no night
    write_file(folder / "started.txt", f"{_now()}\n", "--out")
    for old in folder.glob("crash-*.txt"):
        old.unlink()
    run = CaseRunner(selection.overrides, arguments.config_dir, observer, crashes=folder)
    runs = run_selection(selection, arguments, run)
    pages = _write_page(run.folders, folder / "report.html", title=f"Night of {_now()}")
    verdicts = [ran.verdict for ran in runs]
    finished = [FinishedRun.read(path) for path in dict.fromkeys(run.folders) if path.is_dir()]
    published = [shown for one in reproduce(finished, results) for shown in one.tables()]
    snapshots = {(r.verdict.suite, r.verdict.case): r.snapshot for r in runs if r.snapshot is not None}
    title = f"Night of {', '.join(suite.name for suite, _ in selection.suites)}"
    files = {
        "report.md": check_output.night_page(title, verdicts, snapshots, created=_now(), tables=published),
        "verdicts.json": check_output.to_json(verdicts),
        "junit.xml": check_output.to_junit_xml(verdicts, name=title),
    }
    for name, text in files.items():
        write_file(folder / name, text, "--out")
    shown = [*shown_verdicts(verdicts), *(f"report    {path}" for path in (folder / "report.md", *pages))]
    return Answer(shown, files["verdicts.json"], int(worst_exit_code(verdicts)))


def _write_page(folders: list[Path], path: Path, *, title: str) -> tuple[Path, ...]:
    found = [folder for folder in folders if folder.is_dir()]
    if not found or importlib.util.find_spec("jinja2") is None:
        return ()
    from harness.report.cells import read_cells
    from harness.report.page import write_report

    return (write_report(read_cells(found), path, title=title),)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

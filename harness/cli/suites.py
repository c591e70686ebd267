"""`bench check`, `bench bless` and `bench nightly`: run cases, hold them to their baselines, bless what is right."""

from __future__ import annotations

import importlib.util
import shlex
from argparse import Namespace
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.cli.case_tables import print_verdicts
from harness.cli.cases import CaseRunner, Selection, run_selection, select
from harness.cli.progress import progress
from harness.cli.streams import ErrorConsole, OutputConsole, write_file
from harness.config.tolerances import Learned, Tolerances, write_tolerances
from harness.errors import ConfigError
from harness.execution.progress import Countdown
from harness.report.check_output import case_record, night_page, to_json, to_junit_xml
from harness.report.leaderboard import refresh
from harness.snapshots.baseline import Baselines, Version
from harness.snapshots.learning import learn
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.suite import CaseRun, named_tolerances
from harness.snapshots.verdicts import Problem, worst_exit_code
from harness.store.files import file_name


def check(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    selection = select(arguments)
    if arguments.learn is not None:
        return _learn(selection, arguments, out, err)
    with progress(err) as observer:
        verdicts = [ran.verdict for ran in run_selection(selection, arguments, observer)]
    if arguments.junit is not None:
        write_file(Path(arguments.junit), to_junit_xml(verdicts), "--junit")
    if arguments.json:
        out.write_document(to_json(verdicts))
    else:
        print_verdicts(out, verdicts, all_metrics=arguments.all)
    return int(worst_exit_code(verdicts))


_FEWEST_SEEDS = 2
_COMMENT = """\
Written by `{command}`: standard deviations over the seeds 1 … {last}.
What no seed moves keeps its rule of {base}, below."""


def _learn(selection: Selection, arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    count = arguments.learn.removeprefix("seeds=")
    if not count.isdecimal() or int(count) < _FEWEST_SEEDS:
        what, expected = "A spread needs seeds.", f"seeds=K with K ≥ {_FEWEST_SEEDS}"
        raise ConfigError(what, where="--learn", got=arguments.learn, expected=expected)
    if len(selection.suites) != 1 or selection.recorded:
        what, got = "Tolerances are learned for one suite.", " ".join(arguments.targets)
        raise ConfigError(what, where="TARGET", got=got, expected="a suite")
    ((suite, _),), seeds = selection.suites, int(count)
    with progress(err) as observer:
        run = CaseRunner(selection.overrides, arguments.config_dir, observer)
        countdown = Countdown(observer, "runs", len(suite.cases) * seeds)
        snapshots: list[Snapshot] = []
        for case in suite.cases:
            names = (f"suite='{suite.name}'", f"case='{case.case}'")
            for seed in range(1, seeds + 1):
                snapshots.append(run((*case.overrides, *names, f"seed={seed}", "audit=none")).snapshot)
                countdown.ended(run.last_seconds())
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
    out.write(
        f"{sum(isinstance(rule, Learned) for rule in learned.metrics.values())} learned tolerances written to {path}"
    )
    out.write(f"`regression: {path}` in the suite holds its cases to them")
    return 0


_IN_THE_WAY = (Problem.FAILED, Problem.CRASHED, Problem.DAMAGED, Problem.LEAK)
# What leaves a baseline that the leaderboard shows.
_STANDS = ("blessed", "unchanged", "kept")


@dataclass(frozen=True)
class _Blessing:
    """What became of one case: ``blessed``, ``unchanged``, ``kept`` (has a baseline, new-only), or not blessable."""

    run: CaseRun
    action: str
    version: Version | None = None

    def line(self) -> str:
        verdict, version = self.run.verdict, self.version
        name = f"{verdict.suite}/{verdict.case}"
        if verdict.problem is Problem.LEAK:
            return f"refused    {name}: {verdict.detail}"
        return f"{self.action:<10} {name}" + (f" v{version.number}: {version.path}" if version is not None else "")

    def record(self) -> dict[str, object]:
        number, path = (None, None) if self.version is None else (self.version.number, str(self.version.path))
        return {"action": self.action, "version": number, "path": path, "verdict": case_record(self.run.verdict)}


def bless(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    """Show the differences, write the next versions, and say with the exit code whether a case was in the way."""
    if not arguments.dry_run and not (arguments.reason or "").strip():
        what, expected = "A blessing needs a reason.", "one sentence: what changed, and why"
        raise ConfigError(what, where="--reason", expected=expected)
    selection = select(arguments)
    with progress(err) as observer:
        runs = run_selection(selection, arguments, observer)
    if not arguments.json:
        print_verdicts(out, [run.verdict for run in runs], all_metrics=arguments.all)
    done = [_bless(run, Baselines(Path(arguments.results)), arguments) for run in runs]
    if arguments.json:
        out.write_json([blessing.record() for blessing in done])
    for blessing in () if arguments.json else done:
        out.write(blessing.line())
    stands = not arguments.dry_run and any(blessing.action in _STANDS for blessing in done)
    if stands and (page := refresh(Path(arguments.results))) is not None:
        err.write(f"written    {page}")
    return int(worst_exit_code([run.verdict for run in runs if run.verdict.problem in _IN_THE_WAY]))


def _bless(run: CaseRun, baselines: Baselines, arguments: Namespace) -> _Blessing:
    problem, snapshot = run.verdict.problem, run.snapshot
    if snapshot is None or problem not in (None, Problem.NO_BASELINE):
        return _Blessing(run, "failed" if problem is None else problem.name.lower())
    latest = baselines.baseline(snapshot.suite, snapshot.case)
    if latest is not None and latest.snapshot.digest == snapshot.digest:
        return _Blessing(run, "unchanged")
    if latest is not None and arguments.new_only:
        return _Blessing(run, "kept")
    if arguments.dry_run:
        return _Blessing(run, "would be")
    return _Blessing(run, "blessed", baselines.bless(snapshot, arguments.reason, only_new=arguments.new_only))


def nightly(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    selection = select(arguments)
    if selection.recorded or not selection.suites:
        what, got = "A night runs suites.", " ".join(arguments.targets)
        raise ConfigError(what, where="TARGET", got=got, expected="suite=NAME")
    folder = Path(arguments.out)
    write_file(folder / "started.txt", f"{_now()}\n", "--out")
    for old in folder.glob("crash-*.txt"):
        old.unlink()

    def keep(case: str, trace: str) -> str:
        path = folder / f"crash-{file_name(case)}.txt"
        write_file(path, trace, "--out")
        return f"in {path}"

    with progress(err) as observer:
        run = CaseRunner(selection.overrides, arguments.config_dir, observer, keep)
        runs = run_selection(selection, arguments, observer, run)
        pages = _write_page(run.folders, folder / "report.html", title=f"Night of {_now()}")
    verdicts = [ran.verdict for ran in runs]
    snapshots = {(r.verdict.suite, r.verdict.case): r.snapshot for r in runs if r.snapshot is not None}
    title = f"Night of {', '.join(suite.name for suite, _ in selection.suites)}"
    files = {
        "report.md": night_page(title, verdicts, snapshots, created=_now()),
        "verdicts.json": to_json(verdicts),
        "junit.xml": to_junit_xml(verdicts, name=title),
    }
    for name, text in files.items():
        write_file(folder / name, text, "--out")
    if arguments.json:
        out.write_document(files["verdicts.json"])
    else:
        print_verdicts(out, verdicts)
        for path in (folder / "report.md", *pages):
            out.write(f"report    {path}")
    return int(worst_exit_code(verdicts))


def _write_page(folders: list[Path], path: Path, *, title: str) -> tuple[Path, ...]:
    found = [folder for folder in folders if folder.is_dir()]
    if not found or any(importlib.util.find_spec(name) is None for name in ("jinja2", "plotly")):
        return ()
    from harness.report.cells import read_cells
    from harness.report.page import write_report

    return (write_report(read_cells(found), path, title=title),)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

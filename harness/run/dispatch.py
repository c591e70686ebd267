"""Let workers make every stage that some experiments need; the serial run then finds all of it in the artifact store.

So the result is that of a serial run by construction: workers only make, earlier, what the run would have made itself.
"""

from __future__ import annotations

import json
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from harness.config import ExperimentConfig, rebuild
from harness.errors import ArtifactError, HarnessError, no_exit
from harness.errors.redaction import redacted
from harness.execution.progress import Observer, TimeLeft
from harness.execution.task import Ended, Executor, Pool, Serial, Task
from harness.run.pipeline import Pipeline
from harness.run.stages import Cache, Stage
from harness.store.artifacts import ArtifactStore, Key, MemoryCache

_STAGE = "tasks"
_OPEN = 2  # experiments that stay open in a worker: tasks of one come together


class WorkersLostError(RuntimeError):
    """An experiment whose tasks take their workers down, so that it is not tried in the main process."""


@dataclass
class Work:
    """What the workers did for one experiment.

    A task that several experiments need counts for the one that asked first, so that a sum counts it once.

    Attributes:
        seconds, cpu: Of its tasks: seconds of work, and of all processors; what they waited for their turn is none.
        fitted: Windows among them.
        memory_mb: The largest resident memory of a worker.
        lost: Why it must not be tried in this process: its tasks took their workers down. None when they did not.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    fitted: int = 0
    workers: int = 0
    memory_mb: float = 0.0
    lost: str | None = None


StartWorkers = Callable[[], Pool | None]


def workers_of(executor: Executor, stack: ExitStack) -> StartWorkers:
    """Return what brings an executor's workers up when it is first called; they go down when `stack` is closed."""

    @cache
    def start() -> Pool | None:
        pool = executor.start(work)
        return None if pool is None else stack.enter_context(pool)

    return start


class Dispatched:
    """Experiments whose stages workers have made, as far as they could; what then runs them asks here first.

    An experiment that goes wrong is left unfinished: the serial run meets the same error and reports it.

    Args:
        memory: Remembers what was found out about the experiments' data, for the serial run.
        workers: Brings up where their tasks run, and these stay up; by default the executor's, for this time alone.

    Attributes:
        shared: Whether other processes use the store.
    """

    def __init__(
        self,
        configs: Sequence[ExperimentConfig],
        observer: Observer,
        memory: MemoryCache | None = None,
        workers: StartWorkers | None = None,
    ) -> None:
        self.memory, self.shared = memory or MemoryCache(), False
        self._work: dict[int, Work] = {}
        if configs and not isinstance(configs[0].executor, Serial):
            self.shared = True
            opened = [one for config in configs if (one := _opened(config, self.memory, observer)) is not None]
            with ExitStack() as stack:
                pool = (workers or workers_of(configs[0].executor, stack))() if opened else None
                if pool is not None:
                    observer.start(_STAGE, sum(one.tasks for one in opened))
                    _Dispatcher(pool, observer, opened).run()
                    observer.finish(_STAGE)
                    self._work = {id(one.pipeline.config): one.work for one in opened}

    def work_of(self, config: ExperimentConfig) -> Work | None:
        """Return what was done for an experiment, None when it was finished already; raises `WorkersLostError`."""
        found = self._work.get(id(config))
        if found is not None and found.lost is not None:
            raise WorkersLostError(f"{config.case_name}: {found.lost}")
        return found


@dataclass(eq=False)
class _Experiment:
    """One experiment on its way; `work` and `spent` count the tasks that it asked for first."""

    pipeline: Pipeline
    left: Counter[str]  # tasks by stage that the observer has not heard of
    batches: Iterator[Sequence[Stage[Any]]] = field(init=False)  # that have not begun
    missing: set[str] = field(default_factory=set)  # tasks of the current batch that have not ended
    tasks: int = 0
    given_up: bool = False
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # seconds by stage of a snapshot
    work: Work = field(default_factory=Work)

    def kind(self, stage: str) -> tuple[str, ...]:
        """Return what decides how long a task takes, roughly."""
        choices = self.pipeline.config.choices
        return (stage, choices.get("data", ""), choices.get("model" if stage == "window" else "adaptation", ""))


def _opened(config: ExperimentConfig, memory: MemoryCache, observer: Observer) -> _Experiment | None:
    """Return the experiment, or None when nothing is to be made or the serial run will refuse it."""
    pipeline = Pipeline(config, Cache(ArtifactStore(Path(config.output.store)), memory, shared=True), observer=observer)
    try:
        if pipeline.cache.store.find(pipeline.result_stage.key) is not None:
            return None
        pipeline.check()
    except Exception:
        return None  # somebody's own source may raise anything; the serial run reports it
    left = Counter({"table": 1, "adaptation": 1, "processed": 1, "window": len(pipeline.windows), "result": 1})
    return _Experiment(pipeline, left, tasks=left.total())


class _Dispatcher:
    """Which tasks wait for which; a task that several experiments need is submitted once."""

    def __init__(self, pool: Pool, observer: Observer, experiments: Sequence[_Experiment]) -> None:
        self._pool, self._observer, self._experiments = pool, observer, experiments
        self._time_left = TimeLeft()
        self._waiting: dict[str, list[tuple[_Experiment, Stage[Any]]]] = {}
        self._done: set[str] = set()

    def run(self) -> None:
        workers = self._pool.workers
        for one in self._experiments:
            one.work.workers = workers
            for stage, count in one.left.items():
                self._time_left.expect(one.kind(stage), count)
        for one in self._experiments:
            one.batches = one.pipeline.batches(partial(self._needs_making, one))
            self._go_on(one)
        while self._waiting:
            for ended in self._pool.wait():
                self._hear(ended)

    def _needs_making(self, one: _Experiment, stage: Stage[Any]) -> bool:
        """Whether nobody makes a stage yet; what the store holds is no task: it would teach that it takes no time."""
        name = _name(stage)
        if one.pipeline.cache.holds(stage):
            self._done.add(name)
        return not (stage.local or name in self._done or name in self._waiting)

    def _go_on(self, one: _Experiment) -> None:
        while not one.missing and not one.given_up:
            try:
                batch = next(one.batches, None)
                steps = [(_name(stage), stage) for stage in batch or ()]
                tasks = {name: self._task(one, stage) for name, stage in steps if self._needs_making(one, stage)}
            except Exception:
                # Somebody's own code may raise anything. The serial run meets the same error and reports it, with its
                # traceback; the other experiments go on.
                self._give_up(one)
                return
            if batch is None:
                return
            one.missing = {name for name, _ in steps}
            for name, stage in steps:
                if stage.name == "subtask" and stage.at == 0:
                    subtasks = sum(map(len, one.pipeline.subtasks))
                    one.tasks, one.left["subtask"] = one.tasks + subtasks, one.left["subtask"] + subtasks
                    self._time_left.expect(one.kind("subtask"), subtasks)
                    self._estimate()
                if name in self._waiting:
                    self._waiting[name].append((one, stage))
                elif name in tasks:
                    self._waiting[name] = [(one, stage)]
                    self._pool.submit(tasks[name])
                else:
                    one.missing.discard(name)
                    self._tell(one, stage.name)

    def _task(self, one: _Experiment, stage: Stage[Any]) -> Task:
        pipeline = one.pipeline
        request = Request(
            stage=stage.name,
            at=stage.at,
            composed=_for_workers(pipeline.config.composed),
            store=str(pipeline.cache.store.root.resolve()),
            panel=pipeline.panel_stage.key.digest,
            result=pipeline.result_stage.key.digest,
            spent=dict(one.spent) if stage.name == "result" else {},
        )
        return Task(_name(stage), json.dumps(asdict(request)), stage.priority, stage.threads, stage.memory())

    def _hear(self, ended: Ended) -> None:
        waiting = self._waiting.pop(ended.name)
        first, stage = waiting[0]
        if ended.error is None:
            self._done.add(ended.name)
            self._time_left.measured(first.kind(stage.name), ended.seconds)
        if stage.counts_as:
            first.spent[stage.counts_as] += ended.seconds
        work = first.work
        work.seconds, work.cpu = work.seconds + ended.seconds, work.cpu + ended.cpu
        work.fitted += stage.name == "window" and ended.error is None
        work.memory_mb = max(work.memory_mb, ended.memory_mb)
        for one, stage in waiting:
            if ended.died:
                one.work.lost = ended.error
            if ended.error is not None:
                self._give_up(one)
            elif not one.given_up:
                one.missing.discard(ended.name)
                self._tell(one, stage.name)
                self._go_on(one)
        self._estimate()

    def _give_up(self, one: _Experiment) -> None:
        one.given_up = True
        for stage in list(one.left.elements()):
            self._tell(one, stage)

    def _tell(self, one: _Experiment, stage: str) -> None:
        one.left[stage] -= 1
        self._time_left.expect(one.kind(stage), -1)
        self._observer.advance(_STAGE)

    def _estimate(self) -> None:
        seconds, at_least = self._time_left.seconds(self._pool.workers)
        self._observer.estimate(_STAGE, sum(one.tasks for one in self._experiments), seconds, at_least=at_least)


def _name(stage: Stage[Any]) -> str:
    return f"{stage.name}-{stage.key.digest}"


def _for_workers(composed: str) -> str:
    # They track nothing, so that no password travels.
    return json.dumps({**json.loads(composed), "tracking": {"_target_": "harness.tracking.NoTracking"}})


@dataclass(frozen=True)
class Request:
    """A task: a stage of an experiment, in a few kilobytes; the store takes its result.

    Attributes:
        stage, at: What to make, see `Stage`.
        composed: The configuration, see `harness.config.rebuild`.
        panel: Digest of the panel's key: a worker elsewhere has the store but not the source.
        result: Digest of the result's key: a worker that would come to another one runs other code.
        spent: For the result: seconds by stage that workers have spent on the experiment so far.
    """

    stage: str
    at: int
    composed: str
    store: str
    panel: str
    result: str
    spent: dict[str, float]


def work(request: str) -> str | None:
    """Do one task, an encoded `Request`; return what went wrong, or None. Whatever it is, the worker lives on."""
    try:
        with no_exit():
            _do(Request(**json.loads(request)))
    except HarnessError as error:
        return str(error)
    except Exception:
        # A bug in a user's model is reported by whoever asked; it must not take the worker down.
        return redacted(traceback.format_exc())
    return None


def _do(request: Request) -> None:
    pipeline = _pipeline(request.composed, request.store, request.panel)
    key = pipeline.result_stage.key
    if key.digest != request.result:
        raise ArtifactError(
            "This worker would compute another result: its code or libraries differ from the main process's.",
            where="executor",
            got=key.digest,
            expected=request.result,
            hint="install the same version everywhere, and restart the workers after every change",
        )
    if request.stage == "result":
        # What this worker itself has done for the experiment is among what all have.
        pipeline.watch.seconds.clear()
        pipeline.watch.seconds.update(request.spent)
    batches = pipeline.batches(lambda _: request.stage == "subtask")
    asked = (request.stage, request.at)
    pipeline.cache.get(next(stage for batch in batches for stage in batch if (stage.name, stage.at) == asked))


@lru_cache(maxsize=_OPEN)
def _pipeline(composed: str, store: str, panel: str) -> Pipeline:
    shared = Cache(ArtifactStore(Path(store)), _memory(), shared=True)
    return Pipeline(rebuild(composed), shared, panel_key=Key("panel", panel, ""))


@lru_cache(maxsize=1)
def _memory() -> MemoryCache:
    return MemoryCache(most=_OPEN)

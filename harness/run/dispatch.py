"""Let workers make every stage that some experiments need; the serial run then finds all of it in the artifact store.

So the result is that of a serial run by construction: workers only make, earlier, what the run would have made itself.
"""

from __future__ import annotations

import heapq
import itertools
import json
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from harness.config import ExperimentConfig, rebuild
from harness.errors import ArtifactError, HarnessError, no_exit
from harness.errors.limits import traits_of
from harness.errors.redaction import redacted
from harness.execution.progress import Observer, TimeLeft
from harness.execution.task import Ended, Executor, Pool, Serial, Task
from harness.run.pipeline import Pipeline
from harness.run.stages import Cache, Stage
from harness.run.status import Record, State, record_of
from harness.samples.interfaces import ModelTraits
from harness.store.artifacts import ArtifactStore, Key, MemoryCache

_STAGE = "tasks"
# Stage → its priority: what others wait for goes first, then what finishes an experiment; and under which name its
# seconds stand in a snapshot: the result counts them itself.
_ORDER: Mapping[str, tuple[int, str]] = {
    "part": (50, "features"),
    "chunk": (45, "features"),
    "table": (40, "features"),
    "processed": (30, "windows"),
    "subtask": (25, "adaptation"),
    "adaptation": (20, "adaptation"),
    "sums": (18, "windows"),
    "result": (15, ""),
    "window": (10, "windows"),
}
_LATER = ("part", "chunk", "subtask", "sums")  # known when what they stand on is there
# Stage → its parts, and what is made of them.
_DIVIDED = {"table": ("part", "chunk"), "chunk": ("part",), "adaptation": ("subtask",), "processed": ("sums",)}
_LARGE = 1 << 28  # bytes of features from which several workers compute them
_OF_PART = 1 << 28  # bytes that a task of a part, a chunk or sums needs
_COPIES = 2  # of the feature matrix that a fit may need: the rows with a label, and what the model makes of them
_OPEN = 2  # experiments that stay open in a worker: tasks of one come together
_MEMORY = MemoryCache(most=_OPEN)  # of a worker


class WorkersLostError(RuntimeError):
    """An experiment whose tasks take their workers down, so that it is not tried in the main process."""


@dataclass
class Work:
    """What the workers did for one experiment.

    A task that several experiments need counts for the one that asked first, so that a sum counts it once.
    """

    # seconds, cpu: of its tasks: seconds of work, and of all processors; what they waited for their turn is none
    seconds: float = 0.0
    cpu: float = 0.0
    fitted: int = 0
    workers: int = 0
    memory_mb: float = 0.0  # the largest resident memory of a worker
    # why it must not be tried in this process: its tasks took their workers down. None when they did not.
    lost: str | None = None


StartWorkers = Callable[[], Pool | None]


def workers_of(executor: Executor, stack: ExitStack) -> StartWorkers:
    """Return what brings an executor's workers up when it is first called; they go down when `stack` is closed."""

    @cache
    def start() -> Pool | None:
        pool = executor.start(work)
        return None if pool is None else stack.enter_context(pool)

    return start


@dataclass(eq=False)
class _Experiment:
    """One experiment on its way; `work` and `spent` count the tasks that it asked for first."""

    pipeline: Pipeline
    left: Counter[str]  # tasks by stage that the observer has not heard of
    batches: Iterator[Sequence[Stage[Any]]]  # that have not begun
    missing: set[str] = field(default_factory=set)  # tasks of the current batch that have not ended
    given_up: bool = False
    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # seconds by stage of a snapshot
    work: Work = field(default_factory=Work)

    def kind(self, stage: str) -> tuple[str, ...]:
        """Return what decides how long a task takes, roughly."""
        choices = self.pipeline.config.choices
        return (stage, choices.get("data", ""), choices.get("model" if stage == "window" else "adaptation", ""))


class _Standing:
    """Tells the record of this process how experiments stand that workers make.

    Workers do not say what they begin: taken to run is what is next in the order of `Pool.submit`.
    """

    def __init__(self, record: Record, workers: int) -> None:
        self.record, self._workers, self._number = record, workers, itertools.count()
        self._queue: list[tuple[int, int, str, bool]] = []
        self._busy: dict[str, bool] = {}  # task → whether it is a window

    def submitted(self, task: Task, *, is_window: bool) -> None:
        heapq.heappush(self._queue, (-task.priority, next(self._number), task.name, is_window))

    def ended(
        self, name: str, of: Iterable[_Experiment], waiting: Mapping[str, list[tuple[_Experiment, Stage[Any]]]]
    ) -> None:
        """Tell of the experiments of a task that has ended, and of those whose tasks run; `waiting`: task → of whom."""
        self._busy.pop(name, None)
        while self._queue and len(self._busy) < self._workers:
            *_, other, is_window = heapq.heappop(self._queue)
            if other in waiting:
                self._busy[other] = is_window
        running = dict.fromkeys(of, -1)  # windows that are made; -1: nothing is done
        for task, is_window in self._busy.items():
            for one, _ in waiting.get(task, ()):
                running[one] = max(running.get(one, 0), 0) + is_window
        for one, windows in running.items():
            total, left = len(one.pipeline.windows), one.left
            # What was given up, the serial run makes, or it reports what is wrong.
            done, is_made = (0, False) if one.given_up else (total - left["window"], left.total() == 0)
            state = State.DONE if is_made else State.WAITING if windows < 0 else State.RUNNING
            self.record.count(one.pipeline.config, state, windows=total, done=done, running=max(windows, 0))


class Dispatched:
    """Experiments whose stages workers have made, as far as they could; what then runs them asks here first.

    An experiment that goes wrong is left unfinished: the serial run meets the same error and reports it.

    Args:
        memory: Remembers what was found out about the experiments' data, for the serial run.
        workers: Brings up where their tasks run, and these stay up; by default the executor's, for this time alone.
        lone: Whether no other experiment of this process shares the memory.
    """

    def __init__(
        self,
        configs: Sequence[ExperimentConfig],
        observer: Observer,
        memory: MemoryCache | None = None,
        workers: StartWorkers | None = None,
        *,
        lone: bool = False,
    ) -> None:
        self._memory = memory or MemoryCache()
        self._shared = bool(configs) and not isinstance(configs[0].executor, Serial)
        self._lone = lone and not self._shared
        self._observer, self._time_left, self._work = observer, TimeLeft(), dict[int, Work]()
        self._waiting: dict[str, list[tuple[_Experiment, Stage[Any]]]] = {}  # a task of several is submitted once
        self._done: set[str] = set()
        if configs:
            record_of(Path(configs[0].output.store)).plan(configs)
        opened = [one for config in configs if self._shared and (one := self._opened(config)) is not None]
        with ExitStack() as stack:
            pool = (workers or workers_of(configs[0].executor, stack))() if opened else None
            if pool is not None:
                self._pool, self._tasks = pool, sum(one.left.total() for one in opened)
                self._standing = _Standing(record_of(Path(configs[0].output.store)), pool.workers)
                self._run(opened)
                self._work = {id(one.pipeline.config): one.work for one in opened}

    def work_of(self, config: ExperimentConfig) -> Work | None:
        """Return what was done for an experiment, None when it was finished already; raises `WorkersLostError`."""
        found = self._work.get(id(config))
        if found is not None and found.lost is not None:
            raise WorkersLostError(f"{config.case_name}: {found.lost}")
        return found

    def cache_of(self, config: ExperimentConfig) -> Cache:
        """Return where an experiment finds its stages: with the memory of all, and what workers put into the store."""
        return Cache.of(config, self._memory, shared=self._shared, lone=self._lone)

    def _opened(self, config: ExperimentConfig) -> _Experiment | None:
        """Return the experiment, or None when nothing is to be made or the serial run will refuse it."""
        cache = self.cache_of(config)
        pipeline = Pipeline(config, cache, observer=self._observer)
        try:
            if cache.store.find(pipeline.result_stage.key) is not None:
                return None
            pipeline.check()
        except Exception:
            return None  # somebody's own source may raise anything; the serial run reports it
        left = Counter({"table": 1, "adaptation": 1, "processed": 1, "window": len(pipeline.windows), "result": 1})
        return _Experiment(pipeline, left, pipeline.batches(partial(self._divides, pipeline)))

    def _run(self, experiments: Sequence[_Experiment]) -> None:
        self._observer.start(_STAGE, self._tasks)
        for one in experiments:
            one.work.workers = self._pool.workers
            for stage, count in one.left.items():
                self._time_left.expect(one.kind(stage), count)
        for one in experiments:
            self._go_on(one)
        self._standing.ended("", experiments, self._waiting)
        while self._waiting:
            for ended in self._pool.wait():
                self._hear(ended)
        self._standing.record.estimate(None)
        self._observer.finish(_STAGE)

    def _needs_making(self, cache: Cache, stage: Stage[Any]) -> bool:
        """Whether nobody makes a stage yet; what the store holds is no task: it would teach that it takes no time."""
        name = _name(stage)
        if cache.holds(stage):
            self._done.add(name)
        return not (stage.local or name in self._done or name in self._waiting)

    def _divides(self, pipeline: Pipeline, stage: Stage[Any]) -> bool:
        """Whether a stage is worth to be made in parts."""
        size = 4 * len(pipeline.rows.codes) * len(pipeline.config.features.feature_set())
        if stage.name in ("table", "processed") and size < _LARGE:
            return False
        if stage.name == "processed":  # its sums are for windows that are fitted
            windows = (pipeline.walk.window(at) for at in range(len(pipeline.windows)))
            return sum(self._needs_making(pipeline.cache, one) for one in windows) > 1
        return self._needs_making(pipeline.cache, stage)

    def _go_on(self, one: _Experiment) -> None:
        cache = one.pipeline.cache
        while not one.missing and not one.given_up:
            try:
                batch = next(one.batches, None)
                steps = [(_name(stage), stage) for stage in batch or ()]
                tasks = {name: self._task(one, stage) for name, stage in steps if self._needs_making(cache, stage)}
            except Exception:
                # Somebody's own code may raise anything. The serial run meets the same error and reports it, with its
                # traceback; the other experiments go on.
                self._give_up(one)
                return
            if batch is None:
                return
            one.missing = {name for name, _ in steps}
            for name, stage in steps:
                if stage.name in _LATER and stage is steps[0][1]:
                    self._expect(one, stage, len(steps))
                if name in self._waiting:
                    self._waiting[name].append((one, stage))
                elif name in tasks:
                    self._waiting[name] = [(one, stage)]
                    self._pool.submit(tasks[name])
                    self._standing.submitted(tasks[name], is_window=stage.name == "window")
                else:
                    one.missing.discard(name)
                    self._tell(one, stage.name)

    def _expect(self, one: _Experiment, first: Stage[Any], count: int) -> None:
        """Count the tasks of a batch that was not known before; those of all batches of subtasks with the first."""
        if first.name == "subtask":
            count = sum(map(len, one.pipeline.subtasks)) if first.at == 0 else 0
        self._tasks, one.left[first.name] = self._tasks + count, one.left[first.name] + count
        self._time_left.expect(one.kind(first.name), count)
        self._estimate()

    def _task(self, one: _Experiment, stage: Stage[Any]) -> Task:
        pipeline = one.pipeline
        store, panel = str(pipeline.cache.store.root.resolve()), pipeline.panel_stage.key.digest
        experiment, result = (_for_workers(pipeline.config.composed), store, panel), pipeline.result_stage.key.digest
        request = {"stage": stage.name, "at": stage.at, "experiment": experiment, "result": result, "spent": one.spent}
        threads = 1 if stage.name != "window" else traits_of(pipeline.config.model, ModelTraits).threads or 1
        if stage.name in ("part", "chunk", "sums"):
            memory = _OF_PART
        elif stage.name == "table":
            names = pipeline.config.features.feature_set().names
            memory = next(iter(pipeline.panel.fields.values())).nbytes * len(names)  # of (T, N) float32
        else:
            memory = 0 if stage.name == "result" else _COPIES * pipeline.table.features.nbytes
        return Task(_name(stage), json.dumps(request), _ORDER[stage.name][0], threads, memory)

    def _hear(self, ended: Ended) -> None:
        waiting = self._waiting.pop(ended.name)
        first, stage = waiting[0]
        if ended.error is None:
            self._done.add(ended.name)
            self._time_left.measured(first.kind(stage.name), ended.seconds)
        if counts_as := _ORDER[stage.name][1]:
            first.spent[counts_as] += ended.seconds
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
        self._standing.ended(ended.name, [one for one, _ in waiting], self._waiting)
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
        self._observer.estimate(_STAGE, self._tasks, seconds, at_least=at_least)
        self._standing.record.estimate((seconds, at_least))


def _name(stage: Stage[Any]) -> str:
    return f"{stage.name}-{stage.key.digest}"


def _for_workers(composed: str) -> str:
    # They track nothing, so that no password travels.
    return json.dumps({**json.loads(composed), "tracking": {"_target_": "harness.tracking.NoTracking"}})


def work(request: str) -> str | None:
    """Do one task, JSON of what `_do` takes; return what went wrong, or None. Whatever it is, the worker lives on."""
    try:
        with no_exit():
            _do(**json.loads(request))
    except HarnessError as error:
        return str(error)
    except Exception:
        # A bug in a user's model is reported by whoever asked; it must not take the worker down.
        return redacted(traceback.format_exc())
    return None


def _do(stage: str, at: int, *, experiment: tuple[str, str, str], result: str, spent: Mapping[str, float]) -> None:
    """Make a stage of an experiment, see `Stage`; the store takes it.

    `experiment`: configuration, see `harness.config.rebuild`, the store's folder, and the digest of the panel's key: a
    worker elsewhere has the store but not the source. `result`: digest of the result's key: a worker that would come to
    another one runs other code. `spent`: seconds by stage that workers have spent on the experiment so far.
    """
    pipeline = _pipeline(*experiment)
    if (found := pipeline.result_stage.key.digest) != result:
        what = "This worker would compute another result: its code or libraries differ from the main process's."
        hint = "install the same version everywhere, and restart the workers after every change"
        raise ArtifactError(what, where="executor", got=found, expected=result, hint=hint)
    if stage == "result":
        # What this worker itself has done for the experiment is among what all have.
        pipeline.watch.seconds.clear()
        pipeline.watch.seconds.update(spent)
    batches = pipeline.batches(lambda one: stage in _DIVIDED.get(one.name, ()))
    pipeline.cache.get(next(one for batch in batches for one in batch if (one.name, one.at) == (stage, at)))


@lru_cache(maxsize=_OPEN)
def _pipeline(composed: str, store: str, panel: str) -> Pipeline:
    shared = Cache(ArtifactStore(Path(store)), _MEMORY, shared=True)
    return Pipeline(rebuild(composed), shared, panel_key=Key("panel", panel, ""))

"""Let workers fill the artifact store with everything that some experiments need; the serial run then finds it there.

So the result is that of a serial run by construction: workers only make, earlier, what the run would have made itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harness.config import ExperimentConfig
from harness.config.contracts import traits_of
from harness.execution.progress import Observer, TimeLeft
from harness.execution.task import Ended, Executor, Pool, Serial, Task
from harness.run.job import Job
from harness.run.worker import Request, Step, work
from harness.samples.interfaces import ModelTraits, StoredAdaptation
from harness.store.artifacts import ArtifactStore, Key, Shelf

Value = TypeVar("Value")

_STAGE = "tasks"
# What others wait for goes first, then what finishes a cell.
_PRIORITY: dict[Step, int] = {"table": 40, "processed": 30, "piece": 25, "adaptation": 20, "result": 15, "window": 10}
_STEPS_BESIDE_WINDOWS: tuple[Step, ...] = ("table", "processed", "adaptation", "result")
# Under which name the seconds of a step stand in a snapshot; those of the last step count themselves.
_STAGES: dict[Step, str] = {
    **{"table": "features", "piece": "adaptation", "adaptation": "adaptation"},
    **{"processed": "windows", "window": "windows"},
}
_COPIES = 2  # of the feature matrix that a fit may need: the rows with a label, and what the model makes of them


class WorkersLostError(RuntimeError):
    """An experiment whose tasks take their workers down, so that it is not tried in the main process."""


@dataclass(frozen=True)
class Filled:
    """What the workers did for one experiment.

    A task that several experiments need counts for the one that asked first, so that a sum counts it once.

    Attributes:
        seconds, cpu: Of its tasks: seconds of work, and of all processors; what they waited for their turn is none.
        fitted: Windows among them.
        workers: How many workers there were.
        memory_mb: The largest resident memory of a worker.
        lost: Why it must not be tried in this process: its tasks took their workers down. None when they did not.
    """

    seconds: float
    cpu: float
    fitted: int
    workers: int
    memory_mb: float
    lost: str | None


def fill(
    configs: Sequence[ExperimentConfig], executor: Executor, observer: Observer, shelf: Shelf | None = None
) -> dict[int, Filled]:
    """Make the results of all experiments on the executor's workers, each shared stage once.

    An experiment that goes wrong is left unfinished: the serial run meets the same error and reports it.

    Args:
        configs: The experiments.
        executor: Where their tasks run; with a serial one nothing is done.
        observer: Told about every task of all experiments together.
        shelf: Remembers what was found out about the experiments' data, for the serial run.

    Returns:
        dict: Position of an experiment → what was done for it; without those that were finished already.
    """
    if isinstance(executor, Serial):
        return {}
    known = shelf or Shelf()
    cells = [cell for at, config in enumerate(configs) if (cell := _opened(at, config, known, observer)) is not None]
    if not cells:
        return {}
    pool = executor.start(work)
    if pool is None:
        return {}
    with pool:
        workers = pool.workers
        observer.start(_STAGE, sum(cell.tasks for cell in cells))
        filling = _Filling(pool, observer, cells)
        for cell in cells:
            filling.begin(cell)
        filling.run()
        observer.finish(_STAGE)
    return {cell.position: cell.filled(workers) for cell in cells}


@dataclass(eq=False)
class _Cell:
    """One experiment on its way.

    Attributes:
        position: In the sequence of experiments.
        job: Its stages.
        left: Windows that are not there yet.
        pieces: Tasks that its adaptation was divided into.
        told: Tasks that the observer has heard of.
        given_up, died: Whether a task went wrong, and what took workers down.
        spent: Seconds of work by stage, of the tasks that it asked for first.
        seconds, cpu, fitted, memory_mb: Of these tasks.
    """

    position: int
    job: Job
    left: set[str] = field(default_factory=set)
    told: Counter[Step] = field(default_factory=Counter)
    pieces: int = 0
    given_up: bool = False
    died: str | None = None
    spent: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cpu: float = 0.0
    fitted: int = 0
    memory_mb: float = 0.0

    def spend(self, step: Step, ended: Ended) -> None:
        """Count what a task took."""
        stage = _STAGES.get(step)
        if stage is not None:
            self.spent[stage] = self.spent.get(stage, 0.0) + ended.seconds
        self.seconds += ended.seconds
        self.cpu += ended.cpu
        self.fitted += step == "window" and ended.error is None
        self.memory_mb = max(self.memory_mb, ended.memory_mb)

    def filled(self, workers: int) -> Filled:
        """Return what was done for it."""
        return Filled(self.seconds, self.cpu, self.fitted, workers, self.memory_mb, self.died)

    @property
    def tasks(self) -> int:
        return sum(self.count(step) for step in _PRIORITY)

    def count(self, step: Step) -> int:
        """Return how many tasks of a step it has."""
        return {"window": len(self.job.windows), "piece": self.pieces}.get(step, 1)

    def _memory(self, step: Step) -> int:
        """Return the bytes that a task is thought to need: copies of the feature matrix, for those that learn."""
        if step == "result":
            return 0
        if step == "table":
            fields = next(iter(self.job.panel.fields.values()))  # (T, N) float32
            return fields.nbytes * len(self.job.config.features.feature_set().names)
        return _COPIES * self.job.table.features.nbytes

    def kind(self, step: Step) -> tuple[str, ...]:
        """Return what decides how long a task of it takes, roughly."""
        choices = self.job.config.choices
        return (step, choices.get("data", ""), choices.get("model" if step == "window" else "adaptation", ""))

    def task(self, step: Step, name: str, at: int, wave: int) -> Task:
        job = self.job
        request = Request(
            step=step,
            at=at,
            wave=wave,
            composed=_for_workers(job.config.composed),
            store=str(job.store.root.resolve()),
            panel=job.stages.panel_key().digest,
            result=job.result_key.digest,
            spent=self.spent if step == "result" else {},
        )
        return Task(
            name=name,
            request=request.to_json(),
            priority=_PRIORITY[step],
            threads=traits_of(job.config.model, ModelTraits).threads if step == "window" else 1,
            memory=self._memory(step),
        )


def _for_workers(composed: str) -> str:
    """Return what workers build the experiment from: they track nothing, so that no password travels."""
    return json.dumps({**json.loads(composed), "tracking": {"_target_": "harness.tracking.NoTracking"}})


def _opened(position: int, config: ExperimentConfig, shelf: Shelf, observer: Observer) -> _Cell | None:
    """Return the experiment, or None when nothing is to be made or the serial run will refuse it."""
    job = Job(config, ArtifactStore(Path(config.output.store)), observer=observer, shelf=shelf, shared=True)
    try:
        if job.store.find(job.result_key) is not None:
            return None
        job.check()
        return _Cell(position, job)
    except Exception:
        return None  # somebody's own source may raise anything; the serial run reports it


class _Filling:
    """Which tasks wait for which; a task that several experiments need is submitted once."""

    def __init__(self, pool: Pool, observer: Observer, cells: Sequence[_Cell]) -> None:
        self._pool, self._observer, self._cells = pool, observer, cells
        self._left = TimeLeft()
        for cell in cells:
            for step in _STEPS_BESIDE_WINDOWS:
                self._left.expect(cell.kind(step))
            self._left.expect(cell.kind("window"), len(cell.job.windows))
        self._waiting: dict[str, list[tuple[_Cell, Step, Callable[[], None]]]] = {}
        self._done: set[str] = set()

    def run(self) -> None:
        """Wait until nothing is under way."""
        while self._waiting:
            for ended in self._pool.wait():
                self._hear(ended)

    def begin(self, cell: _Cell) -> None:
        """Submit the first task of an experiment; the others follow as what they need is there."""
        keys = cell.job.stages.table_key(cell.job.panel)
        name = f"table-{keys.digest}"
        # What the store holds is no task: it would teach that tables are made in no time.
        self._note(name, held=all(map(cell.job.store.holds, keys.both)))
        self._need(cell, "table", name, lambda: self._adapt(cell))

    def _adapt(self, cell: _Cell) -> None:
        if not isinstance(cell.job.config.adaptation, StoredAdaptation):
            self._tell(cell, "adaptation")
            self._process(cell)
            return
        key = cell.job.adaptation_key
        name = f"adaptation-{key.digest}"
        self._note(name, held=cell.job.store.holds(key))
        if name not in self._done and name not in self._waiting:
            waves = self._found(cell, lambda: cell.job.waves)
            if waves is not None:
                self._expect(cell, sum(map(len, waves)))
                self._wave(cell, name, waves)
            return
        self._need(cell, "adaptation", name, lambda: self._process(cell))

    def _wave(self, cell: _Cell, name: str, waves: Sequence[Sequence[Key]]) -> None:
        """Make the pieces of an adaptation, wave after wave, then the adaptation."""
        if not waves:
            self._need(cell, "adaptation", name, lambda: self._process(cell))
            return
        names = [f"piece-{key.digest}" for key in waves[0]]
        for key, one in zip(waves[0], names, strict=True):
            self._note(one, held=cell.job.store.holds(key))
        number, left = len(cell.job.waves) - len(waves), set(names)

        def made(one: str) -> None:
            left.discard(one)
            if not left:
                self._wave(cell, name, waves[1:])

        for at, one in enumerate(names):
            self._need(cell, "piece", one, lambda one=one: made(one), at, number)  # type: ignore[misc]

    def _found(self, cell: _Cell, get: Callable[[], Value]) -> Value | None:
        try:
            return get()
        except Exception:
            # Somebody's own code may raise anything. The serial run meets the same error and reports it, with its
            # traceback; the other experiments go on.
            self._give_up(cell)
            return None

    def _process(self, cell: _Cell) -> None:
        stage = self._found(cell, lambda: cell.job.window_stage)
        if stage is None:
            return
        if stage.refits:
            self._tell(cell, "processed")
            self._windows(cell)
            return
        key = stage.processed_key
        self._note(f"processed-{key.digest}", held=cell.job.store.holds(key))
        self._need(cell, "processed", f"processed-{key.digest}", lambda: self._windows(cell))

    def _windows(self, cell: _Cell) -> None:
        keys = [cell.job.window_stage.key(at) for at in range(len(cell.job.windows))]
        names = [f"window-{key.digest}" for key in keys]
        cell.left = set(names)
        for at, (key, name) in enumerate(zip(keys, names, strict=True)):
            self._note(name, held=cell.job.store.holds(key))
            self._need(cell, "window", name, lambda name=name: self._window_done(cell, name), at)  # type: ignore[misc]

    def _window_done(self, cell: _Cell, name: str) -> None:
        cell.left.discard(name)
        if not cell.left:
            self._need(cell, "result", f"result-{cell.job.result_key.digest}", lambda: None)

    def _note(self, name: str, *, held: bool) -> None:
        if held:
            self._done.add(name)

    def _need(self, cell: _Cell, step: Step, name: str, then: Callable[[], None], at: int = -1, wave: int = 0) -> None:
        if cell.given_up:
            return
        if name in self._done:
            self._tell(cell, step)
            then()
            return
        if name in self._waiting:
            self._waiting[name].append((cell, step, then))
            return
        task = self._found(cell, lambda: cell.task(step, name, at, wave))
        if task is not None:
            self._waiting[name] = [(cell, step, then)]
            self._pool.submit(task)

    def _hear(self, ended: Ended) -> None:
        waiting = self._waiting.pop(ended.name)
        if ended.error is None:
            self._done.add(ended.name)
            self._left.measured(waiting[0][0].kind(waiting[0][1]), ended.seconds)
        waiting[0][0].spend(waiting[0][1], ended)
        for cell, step, then in waiting:
            if ended.died:
                cell.died = ended.error
            if ended.error is not None:
                self._give_up(cell)
            elif not cell.given_up:
                self._tell(cell, step)
                then()
        self._estimate()

    def _expect(self, cell: _Cell, pieces: int) -> None:
        """Count the pieces of an adaptation, which are known only once there is a table."""
        cell.pieces += pieces
        self._left.expect(cell.kind("piece"), pieces)
        self._estimate()

    def _give_up(self, cell: _Cell) -> None:
        cell.given_up = True
        for step in _PRIORITY:
            while cell.told[step] < cell.count(step):
                self._tell(cell, step)

    def _tell(self, cell: _Cell, step: Step) -> None:
        cell.told[step] += 1
        self._left.expect(cell.kind(step), -1)
        self._observer.advance(_STAGE)

    def _estimate(self) -> None:
        seconds, at_least = self._left.seconds(self._pool.workers)
        self._observer.estimate(_STAGE, sum(cell.tasks for cell in self._cells), seconds, at_least=at_least)

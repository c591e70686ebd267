"""A sweep: every combination of swept values is a cell; cells share stages and never stop each other."""

from __future__ import annotations

import itertools
import math
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn

from harness.config import Composer, ExperimentConfig, last_of_each_key, parse_overrides, swept_values
from harness.errors import ConfigError, HarnessError, UnknownKeyError, refused_by_the_system
from harness.errors.redaction import redacted
from harness.execution.progress import Countdown, Observer, PlainObserver, repeated
from harness.run.experiment import ExperimentResult, describe_experiment
from harness.run.finished import SNAPSHOT
from harness.run.pipeline import Pipeline
from harness.run.stages import Cache, Stage
from harness.run.status import OPEN, CellStatus, digest_of, planned_cells, record_of
from harness.snapshots.provenance import Cost
from harness.snapshots.snapshot import read_snapshot
from harness.store.artifacts import Key, MemoryCache

_MOST_CELLS = 100_000
CELLS = "cells"  # the stage that counts them
_LOOK = 1.0  # seconds until it is looked again how cells stand that run elsewhere
_LEAST_FITTED = 0.5  # share of its windows; a cell that has fitted fewer does not say how long one takes


class Outcome(StrEnum):
    """How a cell ended.

    ``refused`` by a rule of the benchmark, with nothing mistaken in the cell itself; ``mistaken``: a user's mistake,
    such as a file that is not there; ``failed``: a crash, in the harness or in somebody's own code.
    """

    DONE = "done"
    REFUSED = "refused"
    MISTAKEN = "mistaken"
    FAILED = "failed"

    @classmethod
    def of(cls, error: HarnessError) -> Outcome:
        return cls.REFUSED if error.is_rule else cls.MISTAKEN


@dataclass(frozen=True, eq=False)
class Cell:
    """One combination of swept values, and how it has ended or, as far as is known, will end."""

    chosen: dict[str, str]  # swept key → value, without the keys that do not apply here
    overrides: tuple[str, ...]
    config: ExperimentConfig | None  # None when it is refused
    outcome: Outcome = Outcome.DONE
    # reason, trace: why it was refused or failed, and the traceback of a failure
    reason: str | None = None
    trace: str | None = field(default=None, repr=False)
    result: ExperimentResult | None = None  # what it leaves behind; None unless it is done
    # of work: wall time in this process, and in workers the time of its tasks; what these waited is none
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.chosen.items()) or "the only cell"

    def refused(self, error: HarnessError) -> Cell:
        """Return the cell as an error leaves it that is no crash."""
        return replace(self, outcome=Outcome.of(error), reason=str(error))


def plan_sweep(
    overrides: Sequence[str], *, search_path: Sequence[str | Path] = (), compose: Composer | None = None
) -> tuple[Cell, ...]:
    """Return the cells of a sweep, in the order of the overrides, the last varying fastest.

    Axes that a chosen file gives as ``hydra.sweeper.params`` come first; the overrides fix, change or add some. A key
    that a cell does not have (``adaptation.alpha`` under rolling retrain) is left out there, and cells that thereby
    become equal are one.

    Raises:
        ConfigError: When an override cannot be read, or a key exists in no cell.
    """
    compose = compose or Composer(search_path)
    axes, parsed = _with_axes(last_of_each_key(parse_overrides(overrides)), compose)
    fixed = {plain_key(o.get_key_element()): str(o.input_line) for o in parsed if not o.is_sweep_override()}
    swept = {o.get_key_element(): swept_values(o, compose.options) for o in parsed if o.is_sweep_override()}
    _refuse_too_many(swept)
    cells: dict[object, Cell] = {}
    unknown: dict[str, UnknownKeyError] | None = None
    # Which keys exist depends on the groups' choices only; what is left of the others decides the cell.
    absent: dict[tuple[tuple[str, str], ...], dict[str, UnknownKeyError]] = {}
    composed: set[object] = set()
    for combination in itertools.product(*swept.values()):
        chosen = dict(zip(swept, combination, strict=True))
        groups = tuple((key, value) for key, value in chosen.items() if "." not in key)
        known = absent.get(groups, {})
        left = {key: value for key, value in chosen.items() if plain_key(key) not in known}
        kept = {key: line for key, line in fixed.items() if key not in known}
        asked = (*kept, *left.items())
        if asked in composed:
            continue
        composed.add(asked)
        cell, dropped = compose_cell(kept, left, compose)
        if cell.config is not None and compose.axes(cell.overrides) != axes:
            raise _other_axes(groups, compose.axes(cell.overrides))
        dropped = absent[groups] = {**known, **dropped}
        unknown = dropped if unknown is None else {key: error for key, error in unknown.items() if key in dropped}
        identity = tuple(sorted(cell.chosen.items())) if cell.config is None else describe_experiment(cell.config)
        cells.setdefault(identity, cell)
    for error in (unknown or {}).values():
        raise error
    return tuple(cells.values())


def _with_axes(given: Sequence[Override], compose: Composer) -> tuple[dict[str, str], list[Override]]:
    """Return the axes of the files that are chosen, and all overrides: those of the axes first."""
    axes = compose.axes([str(o.input_line) for o in given if "." not in o.key_or_group and not o.is_sweep_override()])
    return axes, last_of_each_key([*parse_overrides([f"{key}={value}" for key, value in axes.items()]), *given])


def _other_axes(groups: Sequence[tuple[str, str]], axes: Mapping[str, str]) -> ConfigError:
    what, chosen = "A file that is swept over cannot have axes of its own.", " ".join(map("=".join, groups))
    hint = f"`bench run -m {chosen}` sweeps over the axes of one file"
    expected = "hydra.sweeper.params in files that every cell has in common"
    got = f"{chosen}: {', '.join(axes) or 'none'}"
    return ConfigError(what, where="hydra.sweeper.params", got=got, expected=expected, hint=hint)


def _refuse_too_many(swept: Mapping[str, Sequence[str]]) -> None:
    count = math.prod(map(len, swept.values()))
    if count > _MOST_CELLS:
        what, hint = "This sweep has more cells than can be run.", "`bench search` tries some of many combinations"
        got = f"{' × '.join(str(len(values)) for values in swept.values())} = {count:,} cells"
        raise ConfigError(what, where="-m", got=got, expected=f"at most {_MOST_CELLS:,}", hint=hint)


def run_cell(cell: Cell, run_one: Callable[[ExperimentConfig], ExperimentResult]) -> Cell:
    """Run a cell that can run, and return how it has ended; a crash is recorded with its traceback."""
    if cell.config is None:
        return cell
    began, elsewhere = time.perf_counter(), 0.0
    try:
        result = run_one(cell.config)
        cell, elsewhere = replace(cell, result=result), result.seconds_elsewhere or 0.0
    except HarnessError as error:
        cell = cell.refused(error)
    except Exception as error:
        cell = _crashed(cell, error)  # a bug in one cell, in a user's model say, must not stop the others
    return replace(cell, seconds=time.perf_counter() - began + elsewhere)


def _crashed(cell: Cell, error: BaseException) -> Cell:
    """Return the cell as an error leaves it that nobody expected; its traceback is kept."""
    if isinstance(error, OSError) and (refusal := refused_by_the_system(error)) is not None:
        return cell.refused(refusal)
    reason = redacted(f"{type(error).__name__}: {error}")
    return replace(cell, outcome=Outcome.FAILED, reason=reason, trace=redacted(trace_of(error)))


def trace_of(error: BaseException) -> str:
    """Return the traceback of an error as text."""
    return "".join(traceback.format_exception(error))


def run_sweep(
    cells: Sequence[Cell], run_one: Callable[[ExperimentConfig], ExperimentResult], tell: Callable[[Cell], None]
) -> tuple[Cell, ...]:
    """Run the cells one after the other; when one fails the others go on. `tell` hears of each when it has ended."""
    ended = []
    for cell in cells:
        ended.append(run_cell(cell, run_one))
        tell(ended[-1])
    return tuple(ended)


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return the exit code of a sweep: 1 when a cell failed, 2 when one is mistaken or all are refused, otherwise 0."""
    found = frozenset(outcomes)
    if Outcome.FAILED in found:
        return 1
    return 2 if Outcome.MISTAKEN in found or found == {Outcome.REFUSED} else 0


def plain_key(element: str) -> str:
    """Return the key of an override without Hydra's ``+`` or ``~``."""
    return element.lstrip("+~")


def compose_cell(
    fixed: Mapping[str, str], chosen: Mapping[str, str], compose: Composer
) -> tuple[Cell, dict[str, UnknownKeyError]]:
    """Compose one combination, and return it with the keys that do not exist in it.

    `fixed`: key → override line of what is the same in every combination; `chosen`: key, with Hydra's ``+`` → value.
    """
    lines = {**fixed, **{plain_key(key): f"{key}={value}" for key, value in chosen.items()}}
    chosen = {plain_key(key): value for key, value in chosen.items()}
    dropped: dict[str, UnknownKeyError] = {}
    while True:
        kept = {key: value for key, value in chosen.items() if key not in dropped}
        overrides = tuple(line for key, line in lines.items() if key not in dropped)
        try:
            return Cell(kept, overrides, compose(overrides)), dropped
        except UnknownKeyError as error:
            # The override that it comes from is of this key, or of one inside it; none when it names a group.
            where, left = str(error.where), sorted(lines.keys() - dropped.keys())
            inside = [key for key in left if "." in where and (key == where or key.startswith(f"{where}."))]
            if not inside:
                raise
            dropped[inside[0]] = error
        except ConfigError as error:
            return Cell(kept, overrides, None).refused(error), dropped


class JobCrashError(RuntimeError):
    """A cell that crashed in another process; its traceback travels as text."""

    def __init__(self, reason: str, trace: str) -> None:
        super().__init__(reason, trace)
        self.reason, self.trace = reason, trace


def ended_cell(cell: Cell, returned: JobReturn) -> Cell:
    """Return how the Hydra job of a cell has ended; its result is read from the folder that it left."""
    found = vars(returned)["_return_value"]  # the property of this name prints a failure, and raises it
    if isinstance(found, Mapping):
        snapshot = read_snapshot(Path(found["folder"]) / SNAPSHOT)
        about = (found["reused"], Cost(**found["cost"]), found["seconds_elsewhere"])
        result = ExperimentResult(cast("ExperimentConfig", cell.config), (), snapshot, Path(found["folder"]), *about)
        return replace(cell, result=result, seconds=found["seconds"])
    if isinstance(found, HarnessError):
        return cell.refused(found)
    if isinstance(found, JobCrashError):
        return replace(cell, outcome=Outcome.FAILED, reason=found.reason, trace=found.trace)
    return _crashed(cell, found)


@dataclass(frozen=True, eq=False)
class CellPlan:
    """What one cell would do; `cell` says why it would not."""

    cell: Cell
    windows: int = 0  # how many it walks; 0 when it is refused
    # how many of them are in the store; None when that cannot be told before the adaptation is fitted
    stored: int | None = None
    finished: bool = False


def plan_cells(cells: Sequence[Cell], observer: Observer) -> tuple[list[CellPlan], dict[str, tuple[int, int]]]:
    """Look every stage of every cell up in the store; only panels are made, for windows need their calendar.

    Returns all cells in order, and stage → (how many different ones they need, how many of them are in the store).
    """
    held, memory = dict[Key, bool](), MemoryCache()
    observer.start("plan", len(cells))
    planned = []
    for cell in cells:
        planned.append(_plan(cell, held, observer, memory))
        observer.advance("plan")
    observer.finish("plan")
    needed, stored = Counter(key.stage for key in held), Counter(key.stage for key, is_held in held.items() if is_held)
    return planned, {stage: (count, stored[stage]) for stage, count in needed.items()}


def keys_of(config: ExperimentConfig, observer: Observer) -> frozenset[Key]:
    """Return the keys of the stages of one experiment, as far as they can be told without computing anything."""
    held = dict[Key, bool]()
    _plan(Cell({}, (), config), held, observer, MemoryCache())
    return frozenset(held)


def _plan(cell: Cell, held: dict[Key, bool], observer: Observer, memory: MemoryCache) -> CellPlan:
    if cell.config is None:
        return CellPlan(cell)
    cache = Cache.of(cell.config, memory)
    pipeline = Pipeline(cell.config, cache, observer=observer)

    def look_up(stages: Iterable[Stage[Any]]) -> int:
        found = {stage.key: cache.holds(stage) for stage in stages}
        held.update(found)
        return sum(found.values())

    try:
        pipeline.check()
        first: list[Stage[Any]] = [pipeline.panel_stage, pipeline.features_stage, pipeline.label_stage]
        first += [] if pipeline.adaptation_stage.local else [pipeline.adaptation_stage]
        windows, stored = range(len(pipeline.windows)), None
        if look_up(first) == len(first):
            stored = look_up(pipeline.walk.window(at) for at in windows)
            beside = [*(stage.key for stage in pipeline.chunks.stages), *pipeline.walk.kept_keys]
            beside.append(pipeline.outline_stage.key)
            held.update({key: True for key in beside if cache.store.holds(key)})
            if not pipeline.walk.processed.local and cache.holds(pipeline.walk.processed):
                look_up([pipeline.walk.processed])
        return CellPlan(cell, len(windows), stored, bool(look_up([pipeline.result_stage])))
    except HarnessError as error:
        return CellPlan(cell.refused(error))


class CellProgress:
    """Reports each cell that has ended, and how long the others will take, as the stage ``cells``.

    What a cell takes is learned from cells of the same data, model and adaptation that were computed. One that the
    store held, in whole or for the most part, says nothing about the others; nor does one that was refused or failed.
    """

    def __init__(self, cells: Sequence[Cell], observer: PlainObserver) -> None:
        kinds = [_kind(cell) for cell in cells if cell.config is not None]
        self._observer, self._countdown = observer, Countdown(observer, CELLS, len(cells), kinds)
        self._seen: set[str] = set()  # digests of those that have ended elsewhere

    @contextmanager
    def elsewhere(self, cells: Sequence[Cell]) -> Iterator[None]:
        """Report cells that other processes run inside the block, by what these tell of themselves in the store."""
        configs = {cell: cell.config for cell in cells if cell.config is not None}
        waiting = {digest_of(config): cell for cell, config in configs.items()}
        stores = {Path(config.output.store) for config in configs.values()}
        for store in stores:
            record_of(store).plan([config for config in configs.values() if Path(config.output.store) == store])

        def look() -> None:
            for store in stores:
                self._look(planned_cells(store), waiting)

        with repeated(look, _LOOK):
            yield

    def _look(self, found: Mapping[str, CellStatus], waiting: dict[str, Cell]) -> None:
        for digest in [digest for digest in waiting if digest in found and found[digest].state not in OPEN]:
            cell, status = waiting.pop(digest), found[digest]
            self._seen.add(digest)
            self._countdown.ended(status.seconds, _kind(cell))
            self._observer.advance(CELLS, 0, note=f"{cell.name}: {status.state}")

    def ended(self, now: Cell) -> None:
        result, seconds = now.result, None
        if now.reason is not None:
            self._observer.notice(f"{now.name}: {now.outcome}: {now.reason}")
        if now.config is not None and digest_of(now.config) in self._seen:
            return
        if result is not None and not result.reused:
            computed = result.cost.windows - result.cost.stored
            # What workers have made is there for all cells, and the others will take as long as this one here.
            if result.seconds_elsewhere is not None or computed >= _LEAST_FITTED * result.cost.windows:
                seconds = now.seconds - (result.seconds_elsewhere or 0.0)
        self._countdown.ended(seconds, _kind(now))
        how = "from the store" if result is not None and result.reused else f"{now.seconds:.1f} s of work"
        self._observer.advance(CELLS, 0, note=f"{now.name}: {now.outcome}, {how}")


def _kind(cell: Cell) -> tuple[str, ...]:
    choices = {} if cell.config is None else cell.config.choices
    return tuple(choices.get(group, "") for group in ("data", "model", "adaptation"))

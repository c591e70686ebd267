"""The search space in Hydra's own override grammar, and the seeded study that draws trials from it with Optuna.

The grammar: choice(), range(), interval(), tag(log, …), int(…). Only this module knows Optuna.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep

from harness.config import Composer, ExperimentConfig, last_of_each_key, parse_overrides, swept_values
from harness.config.compose import untaken
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.errors.extras import missing_extra
from harness.evaluation.metrics import METRICS, directions_of
from harness.run.pipeline import settings_of
from harness.run.sweep import Cell, compose_cell, plain_key
from harness.store.records import TARGET, modules_of

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

Direction = Literal["minimize", "maximize"]
Value = TypeVar("Value")
_NUMBER = "number"
_LOG = "log"
_unsearchable = partial(untaken, how="searched", hint="see `bench search --help`")


@dataclass(frozen=True, eq=False)
class Dimension:
    """Where the values of one key come from."""

    first: str
    suggest: Callable[[Trial, str], str]  # trial, name → the value of a trial; it and `first` are texts of overrides
    choices: tuple[str, ...] = ()  # all values where they have no order; none otherwise


def _whole(low: int, high: int, step: int, *, log: bool) -> Dimension:
    """Whole numbers, both ends included."""
    return Dimension(str(low), lambda trial, name: str(trial.suggest_int(name, low, high, step=step, log=log)))


@dataclass(frozen=True, eq=False)
class Space:
    """What is searched."""

    # fixed, dimensions: key → override line of what every trial has; key, with Hydra's ``+`` → its values
    fixed: Mapping[str, str]
    dimensions: Mapping[str, Dimension]
    groups: Mapping[str, Dimension]  # dimensions that may decide which other keys exist: choices at the top of the tree
    # values of the searched groups → a cell with them and the first value of every other key that exists
    cells: Mapping[tuple[str, ...], Cell]
    reference: ExperimentConfig  # the first configuration among them: what can be run
    compose: Composer

    @property
    def modules(self) -> tuple[str, ...]:
        found = set(modules_of(*(cell.config and settings_of(cell.config) for cell in self.cells.values())))
        for key, dimension in self.dimensions.items():
            if key.endswith(f".{TARGET}"):
                found |= {value.rpartition(".")[0] for value in dimension.choices}
        return tuple(sorted(found))

    def suggest(self, trial: Trial) -> Cell:
        """Return the next cell: its groups first, then the keys that exist with them."""
        chosen = {key: d.suggest(trial, plain_key(key)) for key, d in self.groups.items()}
        there = self.cells[tuple(chosen.values())].chosen
        for key, dimension in self.dimensions.items():
            if key not in chosen and plain_key(key) in there:
                chosen[key] = dimension.suggest(trial, plain_key(key))
        return compose_cell(self.fixed, chosen, self.compose)[0]


def read_space(overrides: Sequence[str], *, search_path: Sequence[str | Path] = ()) -> Space:
    """Read a search space.

    A key that a choice of groups does not have (``model.num_leaves`` under a linear model) is not searched with it.

    Raises:
        ConfigError: When there is nothing to search, an override cannot be searched, a key exists with no choice of
            groups, or no combination can be run.
    """
    compose = Composer(search_path)
    parsed = last_of_each_key(parse_overrides(overrides))
    fixed = {plain_key(o.get_key_element()): str(o.input_line) for o in parsed if not o.is_sweep_override()}
    dimensions = {o.get_key_element(): _dimension(o, compose) for o in parsed if o.is_sweep_override()}
    if not dimensions:
        what, got = "There is nothing to search.", " ".join(overrides) or "no override"
        expected = "KEY=interval(LOW,HIGH), KEY=range(START,STOP) or KEY=choice(A,B), in quotes"
        hint = "bench search 'model.alpha=tag(log,interval(0.001,100))'"
        raise ConfigError(what, where="bench search", got=got, expected=expected, hint=hint)
    groups = {key: dimension for key, dimension in dimensions.items() if dimension.choices and "." not in key}
    unknown: dict[str, UnknownKeyError] = {}
    cells: dict[tuple[str, ...], Cell] = {}
    for values in itertools.product(*(dimension.choices for dimension in groups.values())):
        chosen = {key: dimension.first for key, dimension in dimensions.items()}
        chosen |= dict(zip(groups, values, strict=True))
        cell, dropped = compose_cell(fixed, chosen, compose)
        unknown = dropped if not cells else {key: unknown[key] for key in unknown.keys() & dropped.keys()}
        cells[values] = cell
    for key in sorted(unknown):
        raise unknown[key]
    reference = next((cell.config for cell in cells.values() if cell.config is not None), None)
    if reference is None:
        first, what = next(iter(cells.values())), "No combination can be run with the first values of the space."
        expected = "values of which the first of every key go together"
        raise ConfigError(what, where=first.name, got=first.reason, expected=expected)
    return Space(fixed, dimensions, groups, cells, reference, compose)


def _dimension(override: Override, compose: Composer) -> Dimension:
    swept: object = override.value()
    if isinstance(swept, Glob | ChoiceSweep):
        if isinstance(swept, ChoiceSweep):
            _known_tags(override, swept.tags, accepted=())
        choices = tuple(swept_values(override, compose.options))
        return Dimension(choices[0], lambda trial, name: str(trial.suggest_categorical(name, choices)), choices)
    if isinstance(swept, IntervalSweep):
        return _interval(override, swept)
    if isinstance(swept, RangeSweep):
        return _range(override, swept)
    raise _unsearchable(override, "this kind of values cannot be searched", "choice(…), range(…) or interval(…)")


def _interval(override: Override, swept: IntervalSweep) -> Dimension:
    low, high, log = swept.start, swept.end, _known_tags(override, swept.tags)
    if low is None or high is None or not low < high:
        raise _unsearchable(override, "the interval is empty", "interval(LOW,HIGH) with LOW < HIGH")
    if log and low <= 0:
        raise _unsearchable(override, "a logarithm needs positive numbers", "tag(log,interval(LOW,HIGH)) with LOW > 0")
    if isinstance(low, int) and isinstance(high, int):
        return _whole(low, high, 1, log=log)
    ends = float(low), float(high)
    return Dimension(repr(ends[0]), lambda trial, name: repr(float(trial.suggest_float(name, *ends, log=log))))


def _range(override: Override, swept: RangeSweep) -> Dimension:
    log, values = _known_tags(override, swept.tags), tuple(swept_values(override, lambda _: ()))
    whole = all(isinstance(number, int) for number in (swept.start, swept.stop, swept.step)) and swept.step > 0
    if log and not (whole and swept.step == 1 and int(values[0]) > 0):
        why = "a logarithm needs positive whole numbers in steps of 1"
        raise _unsearchable(override, why, "tag(log,range(1,STOP)), or an interval")
    if not whole or swept.shuffle:  # in order; the trial holds their number
        return Dimension(values[0], lambda trial, name: values[trial.suggest_int(name, 0, len(values) - 1)])
    return _whole(int(values[0]), int(values[-1]), int(swept.step), log=log)


def _known_tags(override: Override, tags: set[str], accepted: tuple[str, ...] = (_LOG,)) -> bool:
    """Return whether the numbers are spaced by their logarithm."""
    strange = sorted(tags - set(accepted))
    if strange:
        expected = f"no tag but {', '.join(accepted)}" if accepted else "no tag"
        raise _unsearchable(override, f"the tag `{strange[0]}` has no meaning here", expected)
    return _LOG in tags


@dataclass(frozen=True, eq=False)
class Asked(Generic[Value]):
    """A trial that has begun: its number in the order of the search, Optuna's trial, what the search makes of it."""

    number: int
    trial: Trial
    value: Value


@dataclass(frozen=True, eq=False)
class SeededStudy:
    """A study whose next trial depends on the seed, the batches before its own, and its place in the batch only.

    It holds finished trials alone: one that is under way lives in this process and dies with it. None of the trials of
    a batch knows how another one ends.
    """

    study: Study
    seed: int
    batch: int

    def ask(self, suggest: Callable[[Trial], Value], most: int) -> list[Asked[Value]]:
        """Begin what is left of the current batch of at most `most` trials in all; `suggest` draws their values."""
        finished = self.finished()
        begin = len(finished) // self.batch * self.batch
        # A copy as it was before the batch: its finished trials are asked for again and are as they were then.
        optuna, asked = _optuna(), []
        copy = optuna.create_study(direction=self.study.direction)
        copy.add_trials(finished[:begin])
        for number in range(begin, min(begin + self.batch, most)):
            # A sampler's own stream is lost with its process: each trial has one of its own.
            own = int.from_bytes(hashlib.sha256(f"{self.seed}/{number}".encode()).digest()[:4], "big")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                # The others of the batch count as bad ones until they have ended, which keeps its trials apart.
                copy.sampler = optuna.samplers.TPESampler(seed=own, constant_liar=True)
            trial = copy.ask()
            asked.append(Asked(number, trial, suggest(trial)))
        return asked[len(finished) - begin :]

    def tell(self, asked: Asked[Any], value: float | None, told: Mapping[str, Any]) -> None:
        """End a trial with its value, None for one that has none, and what is to be remembered of it."""
        optuna = _optuna().trial
        ended = optuna.create_trial(
            state=optuna.TrialState.PRUNED if value is None else optuna.TrialState.COMPLETE,
            value=value,
            params=asked.trial.params,
            distributions=asked.trial.distributions,
            user_attrs={**told, _NUMBER: asked.number},
        )
        self.study.add_trial(ended)

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that have ended, in order; of two processes that made the same one, the first counts."""
        found: dict[int, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            found.setdefault(trial.user_attrs.get(_NUMBER, -1), trial)
        return [found[number] for number in itertools.takewhile(found.__contains__, itertools.count())]


@contextmanager
def open_study(
    name: str, asked: Mapping[str, str], direction: Direction, seed: int, batch: int, storage: Path | None
) -> Iterator[tuple[SeededStudy, list[Mapping[str, str]]]]:
    """Open the study of this name in a SQLite file, None: in memory; `asked` identifies it and is written down in it.

    Yields:
        tuple: The study, and what identifies every other one of the storage that holds a trial.

    Raises:
        ConfigError: When Optuna is not installed, or the file is no storage of Optuna.
    """
    optuna, sqlalchemy = _optuna(), importlib.import_module("sqlalchemy")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with ExitStack() as closing:
        closing.callback(optuna.logging.set_verbosity, verbosity)
        try:
            if storage is None:
                kept = optuna.storages.InMemoryStorage()
            else:
                storage.parent.mkdir(parents=True, exist_ok=True)
                kept = optuna.storages.RDBStorage(f"sqlite:///{storage.resolve()}")
                closing.callback(kept.engine.dispose)
                closing.callback(kept.remove_session)
            study = optuna.create_study(study_name=name, direction=direction, storage=kept, load_if_exists=True)
            for key, value in asked.items():
                study.set_user_attr(key, value)
            found = optuna.get_all_study_summaries(kept)
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, OSError) as error:
            what, got = "The storage cannot be opened.", f"{storage}: {str(error).splitlines()[0]}"
            expected = "a new file, or one that a search has written, which you may write to"
            raise ConfigError(what, where="--storage", got=got, expected=expected) from error
        others = [one.user_attrs for one in found if one.study_name != name and one.n_trials > 0]
        yield SeededStudy(study, seed, batch), others


def _optuna() -> ModuleType:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise missing_extra("A search", "optuna") from error


def direction_of(metric: str, config: ExperimentConfig) -> Direction:
    """Return which way a metric of a run is better; raises `ConfigError` when nothing says so."""
    directions = directions_of(config.evaluation.extra)
    if metric not in directions:
        raise unknown_metric(metric, directions)
    if directions[metric] == "none":
        what = f"Nothing says which way `{metric}` is better."
        raise ConfigError(what, where="--direction", expected="minimize or maximize")
    return "minimize" if directions[metric] == "lower" else "maximize"


def unknown_metric(metric: str, known: Collection[str]) -> ConfigError:
    """Return the error for a metric that a run does not have."""
    portfolio = "evaluation=portfolio has the metrics of a portfolio" if metric in METRICS else None
    names, hint = ", ".join(known), portfolio or closest(metric, known)
    return ConfigError("A run has no such metric.", where="--metric", got=metric, expected=names, hint=hint)

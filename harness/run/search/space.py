"""The search space, in Hydra's own override grammar: choice(), range(), interval(), tag(log, …), int(…)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep

from harness.config import Composer, last_of_each_key, parse_overrides, swept_values
from harness.errors import ConfigError, UnknownKeyError
from harness.run.job import settings_of
from harness.run.sweep import Cell, compose_cell
from harness.store.records import TARGET, modules_of

if TYPE_CHECKING:
    from optuna.trial import Trial

_LOG = "log"


class Dimension(Protocol):
    """Where the values of one key come from."""

    @property
    def first(self) -> str:
        """Its first value, as the text of an override."""
        ...

    def suggest(self, trial: Trial, name: str) -> str:
        """Return the value of a trial, as the text of an override."""
        ...


@dataclass(frozen=True)
class Choice:
    """Values without an order."""

    values: tuple[str, ...]

    @property
    def first(self) -> str:
        """The first one."""
        return self.values[0]

    def suggest(self, trial: Trial, name: str) -> str:
        """Return one of them."""
        return str(trial.suggest_categorical(name, self.values))


@dataclass(frozen=True)
class Grid:
    """Values in order; the trial holds their number."""

    values: tuple[str, ...]

    @property
    def first(self) -> str:
        """The first one."""
        return self.values[0]

    def suggest(self, trial: Trial, name: str) -> str:
        """Return one of them."""
        return self.values[trial.suggest_int(name, 0, len(self.values) - 1)]


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    step: int
    log: bool

    @property
    def first(self) -> str:
        """The lowest."""
        return str(self.low)

    def suggest(self, trial: Trial, name: str) -> str:
        """Return one of them."""
        return str(trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log))


@dataclass(frozen=True)
class Real:
    """Numbers between `low` and `high`."""

    low: float
    high: float
    log: bool

    @property
    def first(self) -> str:
        """The lowest."""
        return repr(self.low)

    def suggest(self, trial: Trial, name: str) -> str:
        """Return one of them."""
        return repr(float(trial.suggest_float(name, self.low, self.high, log=self.log)))


@dataclass(frozen=True, eq=False)
class Space:
    """What is searched.

    Attributes:
        fixed: Key → override line of what every trial has.
        dimensions: Key, with Hydra's ``+`` → its values.
        applies: Values of the searched groups → the keys that exist with them.
        cells: Every choice of groups, each other key at its first value.
        reference: The first of them that can be run.
        compose: Makes configurations; what trials have in common is composed once.
    """

    fixed: Mapping[str, str]
    dimensions: Mapping[str, Dimension]
    applies: Mapping[tuple[str, ...], tuple[str, ...]]
    cells: tuple[Cell, ...]
    reference: Cell
    compose: Composer

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of everything that a trial may consist of, sorted."""
        found = set(modules_of(*(cell.config and settings_of(cell.config) for cell in self.cells)))
        for key, dimension in self.dimensions.items():
            if key.endswith(f".{TARGET}") and isinstance(dimension, Choice):
                found |= {value.rpartition(".")[0] for value in dimension.values}
        return tuple(sorted(found))

    def suggest(self, trial: Trial) -> Cell:
        """Return the next cell: its groups first, then the keys that exist with them."""
        groups = _groups(self.dimensions)
        chosen = {key: self.dimensions[key].suggest(trial, _plain(key)) for key in groups}
        applying = self.applies[tuple(chosen.values())]
        chosen |= {
            key: dimension.suggest(trial, _plain(key))
            for key, dimension in self.dimensions.items()
            if key not in groups and key in applying
        }
        return _composed(self.fixed, chosen, self.compose)[0]


def read_space(overrides: Sequence[str], *, search_path: Sequence[str | Path] = ()) -> Space:
    """Read a search space.

    A key that a choice of groups does not have (``model.num_leaves`` under a linear model) is not searched with it.

    Args:
        overrides: Hydra overrides; those with several values span the space, the others hold for every trial.
        search_path: Folders with further configuration groups.

    Raises:
        ConfigError: When there is nothing to search, an override cannot be searched, a key exists with no choice of
            groups, or no combination can be run.
    """
    compose = Composer(search_path)
    parsed = last_of_each_key(parse_overrides(overrides))
    fixed = {_plain(o.get_key_element()): str(o.input_line) for o in parsed if not o.is_sweep_override()}
    dimensions = {o.get_key_element(): _dimension(o, compose) for o in parsed if o.is_sweep_override()}
    if not dimensions:
        raise ConfigError(
            "There is nothing to search.",
            where="bench search",
            got=" ".join(overrides) or "no override",
            expected="KEY=interval(LOW,HIGH), KEY=range(START,STOP) or KEY=choice(A,B), in quotes",
            hint="bench search 'model.alpha=tag(log,interval(0.001,100))'",
        )
    applies: dict[tuple[str, ...], tuple[str, ...]] = {}
    unknown: dict[str, UnknownKeyError] = {}
    cells: list[Cell] = []
    for values in itertools.product(*(d.values for d in _groups(dimensions).values())):
        chosen = {key: dimension.first for key, dimension in dimensions.items()}
        chosen |= dict(zip(_groups(dimensions), values, strict=True))
        cell, dropped = _composed(fixed, chosen, compose)
        applies[values] = tuple(key for key in dimensions if _plain(key) not in dropped)
        unknown = dropped if not cells else {key: unknown[key] for key in unknown.keys() & dropped.keys()}
        cells.append(cell)
    for key in sorted(unknown):
        raise unknown[key]
    reference = next((cell for cell in cells if cell.config is not None), None)
    if reference is None:
        raise ConfigError(
            "No combination can be run with the first values of the space.",
            where=cells[0].name,
            got=cells[0].refusal,
            expected="values of which the first of every key go together",
        )
    return Space(fixed, dimensions, applies, tuple(cells), reference, compose)


def _groups(dimensions: Mapping[str, Dimension]) -> dict[str, Choice]:
    """Return what may decide which other keys exist: choices at the top of the tree."""
    return {key: d for key, d in dimensions.items() if isinstance(d, Choice) and "." not in key}


def _composed(
    fixed: Mapping[str, str], chosen: Mapping[str, str], compose: Composer
) -> tuple[Cell, dict[str, UnknownKeyError]]:
    lines = {_plain(key): f"{key}={value}" for key, value in chosen.items()}
    return compose_cell({_plain(k): v for k, v in chosen.items()}, {**fixed, **lines}, compose)


def _plain(element: str) -> str:
    return element.lstrip("+~")


def _dimension(override: Override, compose: Composer) -> Dimension:
    swept: object = override.value()
    if isinstance(swept, Glob):
        return Choice(tuple(swept_values(override, compose.options)))
    if isinstance(swept, IntervalSweep):
        return _interval(override, swept)
    if isinstance(swept, RangeSweep):
        return _range(override, swept)
    if isinstance(swept, ChoiceSweep):
        _known_tags(override, swept.tags, accepted=())
        return Choice(tuple(override.sweep_string_iterator()))
    raise _unsearchable(override, "this kind of values cannot be searched", "choice(…), range(…) or interval(…)")


def _interval(override: Override, swept: IntervalSweep) -> Dimension:
    low, high, log = swept.start, swept.end, _known_tags(override, swept.tags)
    if low is None or high is None or not low < high:
        raise _unsearchable(override, "the interval is empty", "interval(LOW,HIGH) with LOW < HIGH")
    if log and low <= 0:
        raise _unsearchable(override, "a logarithm needs positive numbers", "tag(log,interval(LOW,HIGH)) with LOW > 0")
    if isinstance(low, int) and isinstance(high, int):
        return Whole(low, high, 1, log)
    return Real(float(low), float(high), log)


def _range(override: Override, swept: RangeSweep) -> Dimension:
    log, values = _known_tags(override, swept.tags), tuple(swept_values(override, lambda _: ()))
    numbers = (swept.start, swept.stop, swept.step)
    whole = all(isinstance(number, int) for number in numbers) and swept.step > 0
    if log and not (whole and swept.step == 1 and int(values[0]) > 0):
        raise _unsearchable(
            override, "a logarithm needs positive whole numbers in steps of 1", "tag(log,range(1,STOP)), or an interval"
        )
    if not whole or swept.shuffle:
        return Grid(values)
    return Whole(int(values[0]), int(values[-1]), int(swept.step), log)


def _known_tags(override: Override, tags: set[str], accepted: tuple[str, ...] = (_LOG,)) -> bool:
    """Return whether the numbers are spaced by their logarithm."""
    strange = sorted(tags - set(accepted))
    if strange:
        expected = f"no tag but {', '.join(accepted)}" if accepted else "no tag"
        raise _unsearchable(override, f"the tag `{strange[0]}` has no meaning here", expected)
    return _LOG in tags


def _unsearchable(override: Override, why: str, expected: str) -> ConfigError:
    return ConfigError(
        f"This cannot be searched: {why}.",
        where=_plain(override.get_key_element()),
        got=override.input_line,
        expected=expected,
        hint="see `bench search --help`",
    )

"""A seeded Optuna study, asked for one batch of trials after the other; only this module knows Optuna."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from harness.config import ExperimentConfig
from harness.errors import ConfigError, closest
from harness.evaluation.metrics import METRICS, directions_of

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

Direction = Literal["minimize", "maximize"]
Value = TypeVar("Value")
_NUMBER = "number"


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
    try:
        try:
            if storage is None:
                kept = optuna.storages.InMemoryStorage()
            else:
                storage.parent.mkdir(parents=True, exist_ok=True)
                kept = optuna.storages.RDBStorage(f"sqlite:///{storage.resolve()}")
            study = optuna.create_study(study_name=name, direction=direction, storage=kept, load_if_exists=True)
            for key, value in asked.items():
                study.set_user_attr(key, value)
            found = optuna.get_all_study_summaries(kept)
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, OSError) as error:
            raise ConfigError(
                "The storage cannot be opened.",
                where="--storage",
                got=f"{storage}: {str(error).splitlines()[0]}",
                expected="a new file, or one that a search has written, which you may write to",
            ) from error
        others = [one.user_attrs for one in found if one.study_name != name and one.n_trials > 0]
        yield SeededStudy(study, seed, batch), others
    finally:
        optuna.logging.set_verbosity(verbosity)


def _optuna() -> ModuleType:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise ConfigError("A search needs Optuna.", got=str(error), hint="pip install 'driftbench[optuna]'") from error


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

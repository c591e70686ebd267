"""A seeded Optuna study, asked for one trial after the other; only this module knows Optuna."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import ConfigError

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ["Direction", "SeededStudy", "open_study"]

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, eq=False)
class SeededStudy:
    """A study whose next trial depends on its finished trials and the seed only, resumed or not.

    Attributes
    ----------
    study
        Optuna's.
    seed
        Of the sampler.
    """

    study: Study
    seed: int

    def ask(self) -> Trial:
        """Begin a trial."""
        optuna = _optuna()
        # A sampler's own stream is lost with its process: each trial has one, by the number of trials before it.
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{len(self.finished())}".encode()).digest()[:4], "big")
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=False)
        return self.study.ask()

    def tell(self, trial: Trial, value: float | None, told: dict[str, Any]) -> None:
        """End a trial with its value, None for one that has none, and what is to be remembered of it."""
        for name, what in told.items():
            trial.set_user_attr(name, what)
        if value is None:
            self.study.tell(trial, state=_optuna().trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, value)

    def forget(self, number: int) -> None:
        """End a trial that was interrupted; it counts for nothing."""
        self.study.tell(number, state=_optuna().trial.TrialState.FAIL)

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that have ended with a value or a reason, in order."""
        states = _optuna().trial.TrialState
        return self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))


@contextmanager
def open_study(name: str, direction: Direction, seed: int, storage: Path | None) -> Iterator[SeededStudy]:
    """Open the study of this name, in memory or in a SQLite file; a trial that a killed process left is forgotten.

    Raises
    ------
    ConfigError
        When Optuna is not installed, or the file is no storage of Optuna.
    """
    optuna = _optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = SeededStudy(_study(optuna, name, direction, storage), seed)
        for left in study.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.forget(left.number)
        yield study
    finally:
        optuna.logging.set_verbosity(verbosity)


def _study(optuna: ModuleType, name: str, direction: Direction, storage: Path | None) -> Study:
    if storage is None:
        study: Study = optuna.create_study(study_name=name, direction=direction)
        return study
    sqlalchemy = importlib.import_module("sqlalchemy")
    try:
        storage.parent.mkdir(parents=True, exist_ok=True)
        kept = optuna.storages.RDBStorage(f"sqlite:///{storage.resolve()}")
        study = optuna.create_study(study_name=name, direction=direction, storage=kept, load_if_exists=True)
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        raise ConfigError(
            "The storage cannot be opened.",
            where="--storage",
            got=f"{storage}: {str(error).splitlines()[0]}",
            expected="a new file, or one that a search has written",
        ) from error
    return study


def _optuna() -> ModuleType:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise ConfigError("A search needs Optuna.", got=str(error), hint="pip install 'driftbench[optuna]'") from error

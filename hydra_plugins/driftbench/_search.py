"""What the sweeper `optuna` does; loaded when it searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from harness.config.loader import config_dirs
from harness.errors import ConfigError
from harness.run.search.trials import SearchRequest, SearchResult, TrialResult, search
from hydra_plugins.driftbench._sweep import observer_of
from hydra_plugins.driftbench.context import JobContext

_SAMPLER = "optuna.samplers.TPESampler"
_SQLITE = "sqlite:///"
_OURS = ("bench", "basic")


def search_by(job: JobContext, settings: Mapping[str, Any], arguments: Sequence[str]) -> SearchResult:
    """Search as `bench search` does, with what the sweeper's settings say."""
    tree = job.config
    launcher = str(tree.hydra.runtime.choices["hydra/launcher"])
    if launcher not in _OURS:
        what, hint = "A search runs its trials in batches of its own.", "executor=local, with hydra.sweeper.n_jobs=N"
        raise ConfigError(what, where="hydra/launcher", got=launcher, expected=" or ".join(_OURS), hint=hint)
    if settings["sampler"]["_target_"] != _SAMPLER:
        where, got = "hydra.sweeper.sampler", settings["sampler"]["_target_"]
        raise ConfigError("A search samples with Optuna's TPE sampler.", where=where, got=got, expected=_SAMPLER)
    request = SearchRequest(
        overrides=(*(f"{key}={value}" for key, value in settings["params"].items()), *arguments),
        trials=settings["n_trials"],
        metric=settings["metric"],
        direction=_direction(settings["direction"]),
        seed=settings["sampler"]["seed"],
        batch=settings["n_jobs"],
        storage=_file(settings["storage"]),
        search_path=tuple(map(Path, config_dirs(tree))),
    )
    observer = observer_of(job)

    def report(trial: TrialResult) -> None:
        if trial.reason is not None:
            observer.notice(f"{trial.name}: {trial.outcome}: {trial.reason}")

    return search(request, observer, report)


def _direction(given: Any) -> Literal["minimize", "maximize"] | None:
    if given not in (None, "minimize", "maximize"):
        what, expected = "There is no such direction.", "minimize, maximize, or null: as the metric is known"
        raise ConfigError(what, where="hydra.sweeper.direction", got=given, expected=expected)
    return cast("Literal['minimize', 'maximize'] | None", given)


def _file(storage: str | None) -> Path | None:
    if storage is not None and "://" in storage and not storage.startswith(_SQLITE):
        what, expected = "A search keeps its trials in a SQLite file.", f"FILE, or {_SQLITE}FILE"
        raise ConfigError(what, where="hydra.sweeper.storage", got=storage, expected=expected)
    return None if storage is None else Path(storage.removeprefix(_SQLITE))

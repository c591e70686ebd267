"""Sweepers: `bench`, every combination of values; `optuna`, a search on the validation period."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.driftbench.context import JobContext


@dataclass
class BenchSweeperConf:
    """What `hydra.sweeper` holds.

    Attributes:
        params: Axes of the sweep, key → values as on a command line, which comes last.
        max_batch_size: How many cells are launched together; None: all.
        sort_by: The metric that orders the leaderboard.
        reference: The cell that others are tested against; None: the first rolling_retrain.
    """

    _target_: str = "hydra_plugins.driftbench.sweeper.BenchSweeper"
    params: dict[str, Any] = field(default_factory=dict)  # no null: a key below it could not be added
    max_batch_size: int | None = None
    sort_by: str = "rank_IC"
    reference: str | None = None


@dataclass
class SamplerConf:
    """The sampler of a search; it has a seed."""

    _target_: str = "optuna.samplers.TPESampler"
    seed: int = 43


@dataclass
class OptunaSweeperConf:
    """What `hydra.sweeper` holds of a search: the names of Hydra's own Optuna sweeper.

    Attributes:
        params: The search space, as on a command line, which comes last.
        n_trials: How many trials.
        n_jobs: How many are asked for, and run, together.
        metric: What is searched for.
        direction: ``minimize`` or ``maximize``; None: as the metric is known.
        storage: A SQLite file that keeps the trials, also as ``sqlite:///FILE``; None keeps none.
        sampler: Optuna's TPE sampler, and its seed.
    """

    _target_: str = "hydra_plugins.driftbench.sweeper.OptunaSweeper"
    _recursive_: bool = False
    params: dict[str, Any] = field(default_factory=dict)  # no null: a key below it could not be added
    n_trials: int = 20
    n_jobs: int = 1
    metric: str = "rank_IC"
    direction: str | None = None
    storage: str | None = None
    sampler: SamplerConf = field(default_factory=SamplerConf)


class _JobSweeper(Sweeper):
    """What both remember of the job."""

    job: JobContext
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.job = JobContext(hydra_context, task_function, config)
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)


class BenchSweeper(_JobSweeper):
    """Plans every combination, leaves none twice, launches the cells, and makes one leaderboard of what they leave."""

    def __init__(self, params: Any, max_batch_size: int | None, sort_by: str, reference: str | None) -> None:
        self.max_batch_size, self.sort_by, self.reference = max_batch_size, sort_by, reference

    def sweep(self, arguments: list[str]) -> Any:
        from hydra_plugins.driftbench import _sweep

        batches = _sweep.Batches(self.launcher, self.max_batch_size)
        return _sweep.sweep(self.job, arguments, batches, self.sort_by, self.reference)


class OptunaSweeper(_JobSweeper):
    """Searches on the validation period, see `bench search`: its trials, in the words of Hydra's Optuna sweeper."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def sweep(self, arguments: list[str]) -> Any:
        from hydra_plugins.driftbench import _search

        return _search.search_by(self.job, self.settings, arguments)


_STORE = ConfigStore.instance()
_STORE.store(group="hydra/sweeper", name="bench", node=BenchSweeperConf, provider="driftbench")
_STORE.store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="driftbench")

"""Launchers: the cells of a sweep one after the other, their stages made by an executor of the harness."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.driftbench.context import JobContext


@dataclass
class BenchLauncherConf:
    """The executor of the configuration, ``executor=serial|local|dask``."""

    _target_: str = "hydra_plugins.driftbench.launcher.BenchLauncher"


@dataclass
class LocalLauncherConf:
    """Processes on this machine.

    Attributes:
        workers, threads, retries, memory_gb: As of ``executor=local``.
    """

    _target_: str = "hydra_plugins.driftbench.launcher.LocalLauncher"
    workers: int | None = None
    threads: int | None = None
    retries: int = 2
    memory_gb: float | None = None


@dataclass
class DaskLauncherConf:
    """A Dask cluster.

    Attributes:
        address, workers, retries: As of ``executor=dask``.
    """

    _target_: str = "hydra_plugins.driftbench.launcher.DaskLauncher"
    address: str | None = None
    workers: int | None = None
    retries: int = 2


class BenchLauncher(Launcher):
    """Lets the executor's workers make the stages of all cells, window by window; each cell then ends in this process.

    A stage that several cells need is made once. With ``executor=serial`` this process makes all of them itself.
    """

    job: JobContext
    executor: str | None = None  # its class in `harness.execution`; None: that of the configuration

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.job = JobContext(hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return list(self.launch_each(job_overrides, initial_job_idx))

    def launch_each(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Iterator[JobReturn]:
        """Yield each job's return as soon as it has ended."""
        from hydra_plugins.driftbench import _launch

        executor = None if self.executor is None else _launch.executor_of(self.executor, self.settings)
        return _launch.launch_each(self.job, executor, job_overrides, initial_job_idx)


class LocalLauncher(BenchLauncher):
    """As `BenchLauncher`, with `harness.execution.Local`."""

    executor = "Local"


class DaskLauncher(BenchLauncher):
    """As `BenchLauncher`, with `harness.execution.Dask`."""

    executor = "Dask"


_STORE = ConfigStore.instance()
_STORE.store(group="hydra/launcher", name="bench", node=BenchLauncherConf, provider="driftbench")
_STORE.store(group="hydra/launcher", name="bench_local", node=LocalLauncherConf, provider="driftbench")
_STORE.store(group="hydra/launcher", name="bench_dask", node=DaskLauncherConf, provider="driftbench")

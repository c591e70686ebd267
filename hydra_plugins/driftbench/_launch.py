"""What the launchers of this package do; loaded when one of them launches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from harness.config import ExperimentConfig
from harness.config.instantiate import build_record
from harness.config.loader import JobComposer, Loader, job_config
from harness.execution.dask import Dask
from harness.execution.local import Local
from harness.execution.task import Executor
from hydra_plugins.driftbench.context import JobContext


def launch_each(
    job: JobContext, executor: Executor | None, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
) -> Iterator[JobReturn]:
    """Run the jobs one after the other, in this process; an executor, or their own, makes what they have in common."""
    setup_globals()
    master, loader = job.config, job.hydra.config_loader
    Path(str(master.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    trees: dict[int, DictConfig] = {}
    compose = JobComposer(loader, master) if isinstance(loader, Loader) else None
    for number, overrides in enumerate(job_overrides, initial_job_idx):
        if compose is not None:
            trees[number] = compose.job(overrides, number)
        else:  # an application of somebody's own
            trees[number] = loader.load_sweep_config(master, list(overrides))
            with open_dict(trees[number]):
                trees[number].hydra.job.id = trees[number].hydra.job.num = number
    if (prepare := getattr(job.task, "prepare", None)) is not None:
        prepare(_configs(trees, executor))
    for tree in trees.values():
        yield run_job(
            hydra_context=job.hydra,
            task_function=job.task,
            config=tree,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(master.hydra.hydra_logging, master.hydra.verbose)


def executor_of(name: str, settings: Mapping[str, Any]) -> Executor:
    """Return an executor of the harness, of a launcher's settings."""
    classes = {"Local": Local, "Dask": Dask}
    return cast("Executor", build_record(classes[name], settings, "hydra.launcher"))


def _configs(trees: Mapping[int, DictConfig], executor: Executor | None) -> dict[int, ExperimentConfig]:
    """Return number of a job → its configuration, with another executor if one is given."""
    configs = {}
    for number, tree in trees.items():
        HydraConfig.instance().set_config(tree)  # what `${hydra:…}` refers to
        config = job_config(tree, tree)
        configs[number] = config if executor is None else replace(config, executor=executor)
    return configs

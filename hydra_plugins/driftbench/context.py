"""What Hydra tells a sweeper and a launcher of the job that they are to run."""

from dataclasses import dataclass

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class JobContext:
    """The job, its loader and callbacks, and the configuration of the whole command."""

    hydra: HydraContext
    task: TaskFunction
    config: DictConfig

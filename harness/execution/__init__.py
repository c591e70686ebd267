"""Where tasks run: one after the other, on local processes, or on a Dask cluster. It changes no number."""

from harness.execution.dask import Dask
from harness.execution.local import Local
from harness.execution.serial import Serial
from harness.execution.task import Ended, Executor, Pool, Task, Work

__all__ = ["Dask", "Ended", "Executor", "Local", "Pool", "Serial", "Task", "Work"]

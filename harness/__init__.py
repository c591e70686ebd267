"""Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

>>> from harness import run_experiment
>>> result = run_experiment(["data=synthetic", "windows.step=20"])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.experiment import ExperimentResult as ExperimentResult
    from harness.experiment import run_experiment as run_experiment

__all__ = ["ExperimentResult", "run_experiment"]


def __getattr__(name: str) -> Any:
    """Import the pipeline only when it is asked for, so that a lower floor can be imported alone and fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness import experiment

    return getattr(experiment, name)

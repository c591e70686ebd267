"""Walk-forward forecasting under concept drift: run it, leave a snapshot, trust the number.

>>> from harness import run_experiment
>>> result = run_experiment(["data=synthetic", "windows.step=20"])  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.experiment import ExperimentResult as ExperimentResult
    from harness.experiment import run_experiment as run_experiment
    from harness.plain_observer import PlainObserver as PlainObserver

__all__ = ["ExperimentResult", "PlainObserver", "run_experiment"]
_MODULES = {"PlainObserver": "harness.plain_observer"}


def __getattr__(name: str) -> Any:
    """Import the pipeline only when it is asked for, so that a lower floor can be imported alone and fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "harness.experiment")), name)

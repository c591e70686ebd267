"""An experiment as a job of Hydra: what it is given, what it returns, and the files of Hydra's beside its result."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from harness.config.loader import is_provisional
from harness.run.experiment import ExperimentResult
from harness.store.files import write_atomically


def output_folder(hydra: Any) -> Path | None:
    """Return where a job's result goes, of Hydra's configuration; None: to the folder that its content names."""
    folder = Path(hydra.runtime.output_dir)
    return None if is_provisional(folder) else folder


def job_record(result: ExperimentResult, seconds: float, elsewhere: float | None) -> dict[str, Any]:
    """Return what a job returns: plain data, for it may have run anywhere.

    ``folder``, ``metrics``; ``seconds`` of work and those that workers spent; ``reused``, ``cost``, see
    `ExperimentResult`.
    """
    about = {"seconds": seconds, "seconds_elsewhere": elsewhere, "reused": result.reused, "cost": asdict(result.cost)}
    return {"folder": str(result.folder), "metrics": result.metrics, **about}


def settle(returned: JobReturn, without_result: Path | None = None) -> None:
    """Move what Hydra and callbacks wrote beside the result, or to `without_result`; None removes it."""
    folder = Path(returned.hydra_cfg.hydra.runtime.output_dir)  # type: ignore[union-attr]
    found = vars(returned)["_return_value"]
    target = Path(found["folder"]) if isinstance(found, Mapping) else without_result
    if is_provisional(folder):
        move(folder, target)


def move(folder: Path, target: Path | None) -> None:
    """Move the files of a folder into another one, which may have some of the names; None removes them."""
    if target is not None:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            write_atomically(target / path.relative_to(folder), path.read_bytes())
    shutil.rmtree(folder, ignore_errors=True)

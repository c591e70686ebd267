"""An experiment as a job of Hydra: what it is given, what it returns, and the files of Hydra's beside its result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from harness.run.experiment import ExperimentResult
from harness.store.care import remove
from harness.store.files import write_changed
from harness.store.locks import claimed, is_claimed

_QUEUED = 86_400.0  # seconds
_PROVISIONAL = (".job-", ".sweep-")  # how the folders of conf/hydra/output/bench.yaml begin


def is_provisional(folder: Path) -> bool:
    """Return whether what a job or sweep writes only waits in this folder of it until its result has one."""
    return folder.name.startswith(_PROVISIONAL)


@contextmanager
def provisional(folder: Path) -> Iterator[None]:
    """Leave nothing of a folder in which files only wait, nor of empty folders that were made for it."""
    if not is_provisional(folder):
        yield
        return
    missing = [parent for parent in folder.absolute().parents if not parent.exists()]
    remove(abandoned(folder.parent))
    with suppress(OSError):  # whoever makes the folder says so
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with claimed(folder):
            try:
                yield
            finally:
                move(folder, None)
    finally:
        with suppress(OSError):  # something lies there
            for parent in missing:
                parent.rmdir()


def abandoned(runs: Path) -> tuple[Path, ...]:
    """Return the files and folders that jobs have left in a folder of runs when they were killed.

    What a queue may still read, such as Slurm's by submitit, counts as left only after a day.
    """
    found = [path for name in _PROVISIONAL for path in runs.glob(f"{name}*")]
    queued = {path for path in found if any(_is_young(queue) for queue in path.glob(".submitit"))}
    return tuple(path for path in found if path not in queued and not is_claimed(path.with_name(path.stem)))


def _is_young(path: Path) -> bool:
    return time.time() - path.stat().st_mtime < _QUEUED


def output_folder(hydra: Any) -> Path | None:
    """Return where a job's result goes, of Hydra's configuration; None: to the folder that its content names."""
    return None if _is_waiting(hydra) else Path(hydra.runtime.output_dir)


def _is_waiting(hydra: Any) -> bool:
    node = hydra.run if hydra.job.get("num") is None else hydra.sweep
    # As it stands in the file: what it refers to is no part of Hydra's configuration.
    return is_provisional(Path(str(OmegaConf.to_container(node, resolve=False)["dir"])))  # type: ignore[call-overload, index]


def job_record(result: ExperimentResult, seconds: float, elsewhere: float | None) -> dict[str, Any]:
    """Return what a job returns: plain data, for it may have run anywhere.

    ``folder``, ``metrics``; ``seconds`` of work and those that workers spent; ``reused``, ``cost``, see
    `ExperimentResult`.
    """
    about = {"seconds": seconds, "seconds_elsewhere": elsewhere, "reused": result.reused, "cost": asdict(result.cost)}
    return {"folder": str(result.folder), "metrics": result.metrics, **about}


def settle(returned: JobReturn, without_result: Path | None = None) -> None:
    """Move what Hydra and callbacks wrote beside the result, or to `without_result`; None removes it."""
    hydra = returned.hydra_cfg.hydra  # type: ignore[union-attr]
    found = vars(returned)["_return_value"]
    target = Path(found["folder"]) if isinstance(found, Mapping) else without_result
    if _is_waiting(hydra):
        move(Path(hydra.runtime.output_dir), target)


def move(folder: Path, target: Path | None) -> None:
    """Move the files of a folder into another one, which may have some of the names; None removes them."""
    if target is not None:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            write_changed(target / path.relative_to(folder), path.read_bytes())
    shutil.rmtree(folder, ignore_errors=True)

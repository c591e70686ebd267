"""What the sweeper `bench` does; loaded when it sweeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from harness.config.loader import JobComposer, Loader
from harness.errors import ConfigError
from harness.execution.progress import PlainObserver
from harness.integrations.attempts import noted
from harness.report.leaderboard import RankedSweep, ordering_metric, rank_sweep
from harness.run.finished import SweepRow
from harness.run.job import is_provisional, move, settle
from harness.run.sweep import CELLS, Cell, CellProgress, ended_cell, plan_sweep
from harness.run.sweep_statistics import check_reference
from hydra_plugins.driftbench.context import JobContext

_MULTIRUN = "multirun.yaml"


@dataclass(frozen=True)
class Batches:
    """Where cells run, and how many of them are launched together; None: all."""

    launcher: Launcher
    most: int | None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            what, where = "A batch has a cell.", "hydra.sweeper.max_batch_size"
            raise ConfigError(what, where=where, got=self.most, expected="at least 1, or null: all at once")

    def run(
        self, cells: Sequence[Cell], progress: CellProgress, tell: Callable[[Cell], None]
    ) -> tuple[list[Cell], list[JobReturn]]:
        """Return how all cells have ended, in their order, and what the jobs of those that can run returned."""
        ended, returned = {at: cell for at, cell in enumerate(cells) if cell.config is None}, list[JobReturn]()
        for cell in ended.values():
            tell(cell)
        waiting = [at for at in range(len(cells)) if at not in ended]
        most = self.most or max(len(waiting), 1)
        for batch in (waiting[at : at + most] for at in range(0, len(waiting), most)):
            launched = self._launched([cells[at] for at in batch], batch[0], progress)
            for at, job in zip(batch, launched, strict=True):
                ended[at] = ended_cell(cells[at], job)
                returned.append(job)
                tell(ended[at])
        return [ended[at] for at in range(len(cells))], returned

    def _launched(self, cells: Sequence[Cell], first: int, progress: CellProgress) -> Iterable[JobReturn]:
        """Launch jobs, and give what they return as soon as the launcher does."""
        overrides = [cell.overrides for cell in cells]
        if (each := getattr(self.launcher, "launch_each", None)) is not None:
            return cast("Iterable[JobReturn]", each(overrides, initial_job_idx=first))
        with progress.elsewhere(cells):
            return self.launcher.launch(overrides, initial_job_idx=first)


def sweep(
    job: JobContext, arguments: Sequence[str], batches: Batches, sort_by: str, reference: str | None
) -> RankedSweep:
    """Run every combination, and rank what has run; a cell that is refused or crashes stops no other."""
    loader = job.hydra.config_loader
    if not isinstance(loader, Loader):
        what, hint = "This sweeper plans the cells of `bench run -m`.", "hydra/sweeper=basic in another application"
        raise ConfigError(what, where="hydra/sweeper", got="bench", hint=hint)
    observer, compose = observer_of(job), JobComposer(loader, job.config)
    cells = plan_sweep(arguments, compose=compose)
    sort_by = ordering_metric(cells, sort_by)
    check_reference(reference, [cell.name for cell in cells])
    config = next((cell.config for cell in cells if cell.config is not None), None)
    if config is not None:
        config.tracking.check()
    folder = Path(str(job.config.hydra.sweep.dir))
    own = None if is_provisional(folder) else folder
    if own is not None:
        _refuse_one_folder(cells, compose)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(job.config, folder / _MULTIRUN)
    track = None if config is None else getattr(job.task, "track", None)
    progress = CellProgress(cells, observer)
    names = [cell.name for cell in cells]
    with nullcontext() if track is None or config is None else noted(config, names, observer) as notes:

        def tell(cell: Cell) -> None:
            progress.ended(cell)
            if notes is not None:
                result = None if cell.result is None else cell.result.folder
                notes.cell(SweepRow(cell.name, str(cell.outcome), cell.reason or "", result))

        ended, returned = batches.run(cells, progress, tell)
        observer.finish(CELLS)
        ranked = rank_sweep(ended, sort_by, reference, observer, own)
        for one in returned:
            settle(one, ranked.folder / Path(one.hydra_cfg.hydra.runtime.output_dir).name)  # type: ignore[union-attr]
        if own is None:
            move(folder, ranked.folder)
        if track is not None:
            if notes is not None:
                notes.whole(ranked.folder)
            track(config, ranked.folder)
    return ranked


def observer_of(job: JobContext) -> PlainObserver:
    """Return who is told of the progress of a job; one that says nothing where nobody wants to know."""
    found = getattr(job.task, "observer", None)
    return found if isinstance(found, PlainObserver) else PlainObserver(lambda _: None)


def _refuse_one_folder(cells: Sequence[Cell], compose: JobComposer) -> None:
    """Refuse cells whose results would take each other's place."""
    jobs = (compose.job(cell.overrides, at).hydra.sweep for at, cell in enumerate(cells) if cell.config is not None)
    taken = Counter(str(sweep.subdir) for sweep in jobs)
    folder, count = taken.most_common(1)[0] if taken else ("", 0)
    if count > 1:
        what, expected = f"{count} cells would write to one folder.", "a name for every cell"
        hint = "${hydra.job.num} or ${hydra.job.override_dirname} tell them apart"
        raise ConfigError(what, where="hydra.sweep.subdir", got=folder, expected=expected, hint=hint)

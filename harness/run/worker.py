"""What a worker does: one task of one experiment, named by a request of a few kilobytes; the store takes its result."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from harness.config import rebuild
from harness.errors import ArtifactError, HarnessError, no_exit
from harness.errors.redaction import redacted
from harness.execution.progress import Silent
from harness.run.job import Job
from harness.snapshots.provenance import Stopwatch
from harness.store.artifacts import ArtifactStore, Key, Shelf

Step = Literal["table", "piece", "adaptation", "processed", "window", "result"]
_MOST = 2  # experiments that stay open: tasks of one cell come together


@dataclass(frozen=True)
class Request:
    """A task: a step of an experiment.

    Attributes:
        step: What to make.
        at, wave: Which window, for the step ``window``; which piece of which wave, for the step ``piece``.
        composed: The configuration, see `harness.config.rebuild`.
        store: Folder of the artifact store.
        panel: Digest of the panel's key: a worker elsewhere has the store but not the source.
        result: Digest of the result's key: a worker that would come to another one runs other code.
        spent: For the step ``result``: seconds by stage that workers have spent on the experiment so far.
    """

    step: Step
    at: int
    wave: int
    composed: str
    store: str
    panel: str
    result: str
    spent: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(vars(self))


def work(request: str) -> str | None:
    """Do one task; return what went wrong, or None. Whatever it is, the worker lives on.

    Args:
        request: What `Request.to_json` returned.
    """
    try:
        with no_exit():
            _do(Request(**json.loads(request)))
    except HarnessError as error:
        return str(error)
    except Exception:
        # A bug in a user's model is reported by whoever asked; it must not take the worker down.
        return redacted(traceback.format_exc())
    return None


def _do(request: Request) -> None:
    job = _job(request.composed, request.store, request.panel)
    if job.result_key.digest != request.result:
        raise ArtifactError(
            "This worker would compute another result: its code or libraries differ from the main process's.",
            where="executor",
            got=job.result_key.digest,
            expected=request.result,
            hint="install the same version everywhere, and restart the workers after every change",
        )
    if request.step == "table":
        _ = job.table
    elif request.step == "piece":
        job.make_piece(request.wave, request.at)
    elif request.step == "adaptation":
        _ = job.adaptation
    elif request.step == "processed":
        job.window_stage.prepare()
    elif request.step == "window":
        job.window_stage.score(request.at)
    else:
        # What this worker itself has done for the experiment is among what all have.
        job.watch.seconds.clear()
        job.watch.seconds.update(request.spent)
        job.make_result()


@lru_cache(maxsize=_MOST)
def _job(composed: str, store: str, panel: str) -> Job:
    return Job(
        rebuild(composed),
        ArtifactStore(Path(store)),
        Stopwatch(),
        Silent(),
        _shelf(),
        shared=True,
        panel_key=Key("panel", panel, ""),
    )


@lru_cache(maxsize=1)
def _shelf() -> Shelf:
    return Shelf(most=_MOST)

"""A run with the audit that its configuration asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.audit.verdict import Level, Verdict
from harness.config import ExperimentConfig
from harness.execution.progress import Observer
from harness.run.experiment import ExperimentResult, run
from harness.run.stages import Cache
from harness.snapshots.snapshot import write_snapshot


def run_audited(
    config: ExperimentConfig, observer: Observer, cache: Cache | None = None, folder: Path | None = None
) -> tuple[ExperimentResult, Verdict | None]:
    """Run a configuration and audit it at its own level; the verdict becomes part of the snapshot's provenance.

    Parameters as in `harness.run.experiment.run`. Returns the result, with the verdict under ``provenance.audit``,
    where it identifies nothing and changes no number, and the verdict; None when ``audit`` is ``none``.
    """
    result = run(config, observer, cache, folder)
    level = Level(config.audit)
    if level is Level.NONE:
        return result, None
    from harness.audit.audit import audit_result  # other worlds, which a run without an audit does not load

    store = None if cache is None else cache.store
    verdict = audit_result(config, result, level, observer=observer, store=store)
    snapshot = replace(result.snapshot, provenance={**result.snapshot.provenance, "audit": verdict.to_record()})
    write_snapshot(snapshot, result.folder / "snapshot.json")
    return replace(result, snapshot=snapshot), verdict

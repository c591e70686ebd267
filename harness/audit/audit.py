"""The audit of one configuration: first what costs nothing, then what runs it again."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.audit.memory import changed_numbers, kept_data, numbers_of
from harness.audit.replay import ProgressOnly, Replay
from harness.audit.static import recorded_frontiers, static_checks
from harness.audit.trial import Trial
from harness.audit.verdict import Check, Finding, Level, Verdict
from harness.config import ExperimentConfig
from harness.errors import LookAheadError
from harness.execution.progress import Observer, Silent
from harness.run.experiment import ExperimentResult, run
from harness.run.pipeline import Pipeline
from harness.run.stages import Cache
from harness.snapshots.snapshot import write_snapshot
from harness.store.artifacts import ArtifactStore, MemoryCache

_PARTS = ("adaptation", "preprocess", "model")


def audit(
    config: ExperimentConfig,
    level: Level,
    observer: Observer | None = None,
    store: ArtifactStore | None = None,
    cuts: int | None = None,
) -> Verdict:
    """Run a configuration, or find its result in the store, and audit it.

    Args:
        config: What to audit; a user's own classes are black boxes.
        level: ``none``; ``static``: what a finished run tells; ``sampled``: two poisoned futures; ``full``: a poisoned
            future after every decision, and every other check.
        observer: Told about progress.
        store: The artifact store; the configured one by default.
        cuts: How many decisions a full audit looks at, evenly spread over the windows; every one by default.

    Raises:
        HarnessError: When the harness refuses the configuration for another reason than a look ahead, which is a
            finding.
    """
    observer = observer or Silent()
    before = _numbers(config)
    try:
        result = run(config, observer, store)
    except LookAheadError as error:
        details = ("" if value is None else str(value) for value in (error.where, error.got, error.expected))
        refusal = Check.of("reads", [Finding(error.what, *details)])
    except ValueError as error:
        if "read-only" not in str(error) and "WRITEABLE" not in str(error):
            raise
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        where = f"{Path(frame.f_code.co_filename).name}:{line}"
        finding = Finding("The code changes its inputs, which are read-only.", where, str(error))
        refusal = Check.of("inputs", [finding])
    else:
        return audit_result(config, result, level, observer=observer, store=store, cuts=cuts, before=before)
    return Verdict(level, config.case_name, (refusal,))


def audit_result(
    config: ExperimentConfig,
    result: ExperimentResult,
    level: Level,
    *,
    observer: Observer | None = None,
    store: ArtifactStore | None = None,
    cuts: int | None = None,
    before: Mapping[str, str] | None = None,
) -> Verdict:
    """Audit a finished run; parameters and return value as in `audit`.

    `before` is what the parts' variables held before the run, where that is known.
    """
    if level is Level.NONE:
        return Verdict(level, config.case_name, ())
    observer = observer or Silent()
    store = store or ArtifactStore(Path(config.output.store))
    replay = Replay(result, Pipeline(config, Cache(store), observer=observer), ProgressOnly(observer))
    checks, frontiers, predictions = list(static_checks(replay)), recorded_frontiers(replay), replay.predictions
    if level is not Level.STATIC:
        store.root.mkdir(parents=True, exist_ok=True)
        # Beside the store, so that poisoned stages, which nobody needs again, do not stay in it.
        scratch = TemporaryDirectory(prefix=".audit-", dir=store.root, ignore_cleanup_errors=True)
        with scratch as folder, replay.outside.watching():
            trial = Trial(replay, Path(folder), cuts)
            checks += trial.sampled() if level is Level.SAMPLED else trial.full()
            # A leak makes the frontier meaningless, and its code may fail on it.
            if level is Level.FULL and not any(check.findings for check in checks):
                frontiers = trial.frontiers()
        reached = [Finding(f"The code under audit reaches for {what}.") for what in replay.outside.seen]
        checks.append(Check.of("outside", reached))
    # Last, so that it sees what all these runs have left behind.
    kept = [finding for part in _PARTS for finding in kept_data(getattr(config, part))]
    large = {finding.where for finding in kept}
    small = () if before is None else changed_numbers(before, _numbers(config))
    checks.append(Check.of("memory", (*kept, *(one for one in small if one.where not in large))))
    period = f"{replay.date(predictions.start)} … {replay.date(predictions.stop - 1)}"
    subject = f"{len(result.windows)} windows, test {period}, {predictions.score.size:,} predictions"
    return Verdict(level, config.case_name, tuple(checks), frontiers, subject)


def run_audited(
    config: ExperimentConfig,
    observer: Observer,
    store: ArtifactStore | None = None,
    *,
    memory: MemoryCache | None = None,
    shared: bool = False,
) -> tuple[ExperimentResult, Verdict | None]:
    """Run a configuration and audit it at its own level; the verdict becomes part of the snapshot's provenance.

    Parameters as in `harness.run.experiment.run`.

    Returns:
        The result, with the verdict under ``provenance.audit``, where it identifies nothing and changes no number, and
        the verdict; None when ``audit`` is ``none``.
    """
    before = _numbers(config)
    result = run(config, observer, store, memory=memory, shared=shared)
    level = Level(config.audit)
    if level is Level.NONE:
        return result, None
    verdict = audit_result(config, result, level, observer=observer, store=store, before=before)
    snapshot = replace(result.snapshot, provenance={**result.snapshot.provenance, "audit": verdict.to_record()})
    write_snapshot(snapshot, result.folder / "snapshot.json")
    return replace(result, snapshot=snapshot), verdict


def _numbers(config: ExperimentConfig) -> dict[str, str]:
    return {where: digest for part in _PARTS for where, digest in numbers_of(getattr(config, part)).items()}

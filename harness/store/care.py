"""Look after the artifact store: what it holds, whether it is sound, what may go; refusals are `ArtifactError`s."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ArtifactError
from harness.store.artifacts import LOCK, MANIFEST, SCRATCH, ArtifactStore, Key, is_intact, remove_folder
from harness.store.locks import STATUS, dead_leases, in_use, is_alive, lease_of_status, living_since

_DAY = 86_400.0
_ABANDONED = 1.0  # days after which a folder that is being filled belongs to a process that was killed


@dataclass(frozen=True)
class Entry:
    """One finished result: its key, its folder, the bytes of its files, and when it was finished (since the epoch)."""

    stage: str
    digest: str
    folder: Path
    size: int
    made: float

    def age(self, now: float) -> float:
        """Return its age in days; `now` counts from the epoch."""
        return (now - self.made) / _DAY


@dataclass(frozen=True)
class StageSummary:
    """What a stage holds: results, bytes, and the ages of the oldest and the newest in days."""

    stage: str
    results: int
    size: int
    oldest: float
    newest: float


def entries(root: Path, stages: Collection[str] | None = None) -> tuple[Entry, ...]:
    """Return every finished result under `root`, by stage and digest; of given stages only these."""
    known = [folder.name for folder in _stages(root)]
    for stage in stages or ():
        if stage not in known:
            expected = ", ".join(known) or "nothing yet"
            raise ArtifactError("The store has no such stage.", where=str(root), got=stage, expected=expected)
    found = []
    for stage in known if stages is None else sorted(stages):
        for folder in ArtifactStore(root).results(stage):
            manifest = folder / MANIFEST
            made = (manifest if manifest.is_file() else folder).stat().st_mtime
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            found.append(Entry(stage, folder.name, folder, size, made))
    return tuple(found)


def summary(found: Sequence[Entry], now: float | None = None) -> tuple[StageSummary, ...]:
    """Return one line per stage, the largest first."""
    now = time.time() if now is None else now
    lines = []
    for stage in {entry.stage for entry in found}:
        own = [entry for entry in found if entry.stage == stage]
        ages = [entry.age(now) for entry in own]
        lines.append(StageSummary(stage, len(own), sum(e.size for e in own), max(ages), min(ages)))
    return tuple(sorted(lines, key=lambda line: (-line.size, line.stage)))


def damaged(found: Sequence[Entry]) -> Iterator[tuple[Entry, bool]]:
    """Yield every result, and whether it is damaged: see `harness.store.artifacts.is_intact`."""
    return ((entry, not is_intact(entry.folder)) for entry in found)


def chosen(
    found: Sequence[Entry],
    *,
    older_than: float | None = None,
    keep_bytes: int | None = None,
    keys: Collection[Key] | None = None,
    now: float | None = None,
) -> tuple[Entry, ...]:
    """Return the results that may go: those that meet every condition, oldest first.

    The conditions are an age of more than `older_than` days, one of `keys`, and that all that stay fit `keep_bytes`.
    """
    now = time.time() if now is None else now
    wanted = None if keys is None else {(key.stage, key.digest) for key in keys}
    over = None if keep_bytes is None else sum(entry.size for entry in found) - keep_bytes
    going = []
    for entry in sorted(found, key=lambda entry: (entry.made, entry.stage, entry.digest)):
        is_young = older_than is not None and entry.age(now) <= older_than
        if is_young or (wanted is not None and (entry.stage, entry.digest) not in wanted):
            continue
        if over is not None:
            if over <= 0:
                break
            over -= entry.size
        going.append(entry)
    return tuple(going)


def leftovers(root: Path, now: float | None = None) -> tuple[Path, ...]:
    """Return what killed processes have left: folders that nobody fills any more, and their lock files."""
    now = time.time() if now is None else now
    if not root.is_dir():
        return ()
    hidden = [path for stage in _stages(root) for path in stage.iterdir() if path.name.startswith((SCRATCH, LOCK))]
    limit = min(living_since(root) or now, now - _ABANDONED * _DAY)
    old = [path for path in (*hidden, *root.glob(".audit-*")) if path.stat().st_mtime < limit]
    ended = [path for path in root.glob(f"{STATUS}*") if path.stat().st_mtime < limit and not _has_process(path)]
    return tuple(sorted([*old, *ended, *dead_leases(root)]))


def _has_process(status: Path) -> bool:
    return is_alive(status.with_name(lease_of_status(status.name)))


def remove_unused(root: Path, going: Sequence[Entry]) -> tuple[Entry, ...]:
    """Remove results, but for those that another living process uses; return what was removed."""
    gone = []
    for entry in going:
        # Asked anew before each, so that a run that begins meanwhile is heard of.
        if (entry.stage, entry.digest) not in in_use(root):
            remove([entry.folder])
            gone.append(entry)
    return tuple(gone)


def remove(paths: Sequence[Path]) -> None:
    """Remove results or leftovers; a reader sees each of them whole or not at all."""
    for path in paths:
        remove_folder(path)


def check_unused(root: Path) -> None:
    """Check that no other living process uses the store."""
    if living_since(root) is not None:
        what, expected = "The store is in use by a running process.", "a store that nobody uses"
        hint = "wait until it has ended; `bench cache gc --keep-gb 0 --yes` removes what it does not use"
        raise ArtifactError(what, where=str(root), expected=expected, hint=hint)


def _stages(root: Path) -> list[Path]:
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(path for path in folders if path.is_dir() and not path.name.startswith("."))

"""The small file that a tracked run keeps in its folder, so that it is sent once."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically

MARKER = "tracked.json"


@dataclass(frozen=True)
class Mark:
    """Where one result went.

    Attributes
    ----------
    uri, experiment
        The server, without user and password, and its experiment.
    digest, sweep
        The snapshot's digest, and the sweep's; empty outside a sweep.
    run_id
        The run on the server.
    """

    uri: str
    experiment: str
    digest: str
    sweep: str
    run_id: str

    def is_for(self, other: Mark) -> bool:
        """Whether both say that the same result is in the same place."""
        return all(getattr(self, n) == getattr(other, n) for n in ("uri", "experiment", "digest", "sweep"))


def marks_of(folder: Path) -> tuple[Mark, ...]:
    """Read the marks; a marker that is missing or damaged says nothing, and the server is asked instead."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))["sent"]
        return tuple(Mark(**{str(k): str(v) for k, v in entry.items()}) for entry in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def mark(folder: Path, new: Mark) -> None:
    """Add a mark, atomically, in the place of an older one for the same."""
    kept = [known for known in marks_of(folder) if not known.is_for(new)]
    content = canonical_json({"sent": [asdict(entry) for entry in (*kept, new)]}, indent=1)
    write_atomically(folder / MARKER, content.encode())

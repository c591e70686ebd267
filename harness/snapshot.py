"""The snapshot: one run's identity, metrics and provenance as canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.artifacts import canonical_json, write_atomically
from harness.errors import SnapshotError

__all__ = ["SCHEMA_VERSION", "Snapshot", "identity_digest", "read_snapshot", "write_snapshot"]

SCHEMA_VERSION = 1
_SECTIONS = ("suite", "case", "identity", "metrics", "provenance")


@dataclass(frozen=True)
class Snapshot:
    """The versioned record of one run.

    Attributes
    ----------
    suite, case
        What it is a snapshot of.
    identity
        Everything that can change a number: resolved configuration, data fingerprint, look-ahead, seed, windows.
    metrics
        Overall, per window, per year, and the digest of the predictions. Undefined numbers are null.
    provenance
        Code, libraries, machine, seconds, memory: everything that must not change a number.
    """

    suite: str
    case: str
    identity: Mapping[str, Any]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of identity and metrics: equal for equal results, whatever their provenance."""
        content = {"case": self.case, "suite": self.suite, "identity": self.identity, "metrics": self.metrics}
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the canonical text: sorted keys, shortest round-trip floats, a newline at the end."""
        record = {name: getattr(self, name) for name in _SECTIONS}
        return canonical_json({**record, "digest": self.digest, "schema_version": SCHEMA_VERSION}, indent=1)


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of an identity."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot atomically."""
    write_atomically(path, snapshot.to_json().encode())


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot and check it.

    Raises
    ------
    SnapshotError
        When it is missing, not JSON, of another schema version, or edited by hand.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SnapshotError("There is no such snapshot.", where=str(path)) from error
    except (OSError, ValueError) as error:
        raise SnapshotError("The snapshot cannot be read.", where=str(path), got=str(error)) from error
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        raise SnapshotError(
            "The snapshot has another schema version.", where=str(path), got=version, expected=SCHEMA_VERSION
        )
    lacking = [name for name in (*_SECTIONS, "digest") if name not in record]
    if lacking:
        raise SnapshotError("The snapshot is incomplete.", where=str(path), got=f"without {', '.join(lacking)}")
    snapshot = Snapshot(**{name: record[name] for name in _SECTIONS})
    if snapshot.digest != record["digest"]:
        raise SnapshotError(
            "The snapshot was changed after it was written: its digest does not match its content.",
            where=str(path),
            got=record["digest"],
            expected=snapshot.digest,
        )
    return snapshot

"""Schema migrations of snapshots: one function per version, each from a record of that version to the next.

A schema version is never read in two ways: `harness.snapshots.snapshot` reads the current one only and names the command that
calls this module. Before a record is moved on, it is checked by the rule of the version that wrote it, so that a
migration cannot launder a file that was edited.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import SnapshotError
from harness.snapshots.snapshot import SCHEMA_VERSION, parse_snapshot
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically

Record = Mapping[str, Any]
Migration = Callable[[Record], dict[str, Any]]


def _from_1(record: Record) -> dict[str, Any]:
    """Version 2 adds `blessing`, null for a plain run, and `seal`, a digest over everything, provenance included."""
    digested = ("suite", "case", "identity", "metrics")
    lacking = [name for name in (*digested, "provenance", "digest") if name not in record]
    if lacking:
        raise SnapshotError("The snapshot is incomplete.", got=f"without {', '.join(lacking)}")
    content = {name: record[name] for name in digested}
    if _sha256(content) != record["digest"]:
        raise SnapshotError("The snapshot was changed after it was written: its digest does not match its content.")
    sealed = {**content, "provenance": record["provenance"], "blessing": None, "schema_version": 2}
    return {**record, **sealed, "seal": _sha256(sealed)}


MIGRATIONS: Mapping[int, Migration] = MappingProxyType({1: _from_1})


def migrate_record(
    record: Record, *, migrations: Mapping[int, Migration] = MIGRATIONS, target: int = SCHEMA_VERSION
) -> dict[str, Any]:
    """Return a snapshot's record in schema version `target`.

    Parameters
    ----------
    record
        The parsed file.
    migrations
        Version → function that returns the record of the next version.
    target
        The version wanted.

    Raises
    ------
    SnapshotError
        When the version is unknown, newer than `target`, or the record does not pass its own version's check.
    """
    current: dict[str, Any] = dict(record)
    while (version := current.get("schema_version")) != target:
        if not isinstance(version, int) or version not in migrations:
            raise SnapshotError(
                "There is no migration from this schema version.",
                got=version,
                expected=", ".join(str(v) for v in (*sorted(migrations), target)),
            )
        current = migrations[version](current)
        if current.get("schema_version") != version + 1:
            raise SnapshotError("A migration must lead to the next schema version.", where=f"from version {version}")
    return current


def migrate_file(path: Path) -> tuple[int, int]:
    """Bring a snapshot's file to the current schema in place; return the versions (from, to), equal when it was.

    Identity and metrics, and so the digest, stay as they are.

    Raises
    ------
    SnapshotError
        When the file cannot be read, was edited, or has a version without a migration.
    """
    try:
        record = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise SnapshotError(
            "There is no such snapshot.", where=str(path), expected="a snapshot, or a folder"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise SnapshotError("The snapshot cannot be read.", where=str(path), got=str(error)) from error
    if not isinstance(record, dict):
        raise SnapshotError("The file holds no snapshot.", where=str(path), got=type(record).__name__)
    version = record.get("schema_version")
    if version == SCHEMA_VERSION:
        parse_snapshot(path.read_bytes().decode("utf-8"), str(path))
        return SCHEMA_VERSION, SCHEMA_VERSION
    try:
        text = canonical_json(migrate_record(record), indent=1)
    except SnapshotError as error:
        error.where = error.where or str(path)
        raise
    except ValueError as error:
        raise SnapshotError("A number is not finite.", where=str(path), got=str(error)) from error
    parse_snapshot(text, str(path))
    write_atomically(path, text.encode())
    return int(record["schema_version"]), SCHEMA_VERSION


def _sha256(content: object) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()

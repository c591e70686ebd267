"""Snapshots of older schema versions, brought to the current one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import SnapshotError
from harness.snapshots.snapshot import (
    DIGESTED,
    SCHEMA_VERSION,
    parse_snapshot,
    read_text,
    record_of_text,
    refuse_incomplete,
    sha256,
)
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically

Record = Mapping[str, Any]


def _from_1(record: Record) -> dict[str, Any]:
    """Version 2 adds `blessing`, null for a plain run, and `seal`, a digest over everything, provenance included."""
    refuse_incomplete(record, (*DIGESTED, "provenance", "digest"), None)
    content = {name: record[name] for name in DIGESTED}
    if sha256(content) != record["digest"]:
        raise SnapshotError("The snapshot was changed after it was written: its digest does not match its content.")
    sealed = {**content, "provenance": record["provenance"], "blessing": None, "schema_version": 2}
    return {**record, **sealed, "seal": sha256(sealed)}


MIGRATIONS: Mapping[int, Callable[[Record], dict[str, Any]]] = MappingProxyType({1: _from_1})


def migrate_record(
    record: Record,
    *,
    migrations: Mapping[int, Callable[[Record], dict[str, Any]]] = MIGRATIONS,
    target: int = SCHEMA_VERSION,
) -> dict[str, Any]:
    """Return a snapshot's record in schema version `target`.

    Args:
        record: The parsed file.
        migrations: Version → function that returns the record of the next version.
        target: The version wanted.

    Raises:
        SnapshotError: When the version is unknown, newer than `target`, or the record does not pass its own version's
            check.
    """
    current = dict(record)
    while (version := current.get("schema_version")) != target:
        if not isinstance(version, int) or version not in migrations:
            known = ", ".join(str(v) for v in (*sorted(migrations), target))
            raise SnapshotError("There is no migration from this schema version.", got=version, expected=known)
        current = migrations[version](current)
        if current.get("schema_version") != version + 1:
            raise SnapshotError("A migration must lead to the next schema version.", where=f"from version {version}")
    return current


def migrate_file(path: Path) -> tuple[int, int]:
    """Bring a snapshot's file to the current schema in place; return the versions (from, to), equal when it was.

    Identity and metrics, and so the digest, stay as they are.

    Raises:
        SnapshotError: When the file cannot be read, was edited, or has a version without a migration.
    """
    text = read_text(path, "a snapshot, or a folder")
    record = record_of_text(text, str(path), strict=False)
    if not isinstance(record, dict):
        raise SnapshotError("The file holds no snapshot.", where=str(path), got=type(record).__name__)
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        try:
            text = canonical_json(migrate_record(record), indent=1)
        except SnapshotError as error:
            error.where = error.where or str(path)
            raise
        except ValueError as error:
            raise SnapshotError("A number is not finite.", where=str(path), got=str(error)) from error
    parse_snapshot(text, str(path))
    if version != SCHEMA_VERSION:
        write_atomically(path, text.encode())
    return int(record["schema_version"]), SCHEMA_VERSION

"""The snapshot: one run's identity, metrics and provenance as canonical JSON, guarded by two digests; migrations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from harness.errors import SnapshotError
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically, write_changed, write_new

SCHEMA_VERSION = 2
_DIGESTED = ("suite", "case", "identity", "metrics")
_SECTIONS = (*_DIGESTED, "provenance", "blessing")
_GUARDS = ("digest", "seal", "schema_version")


@dataclass(frozen=True)
class Snapshot:
    """The versioned record of one run.

    Attributes:
        suite, case: What it is a snapshot of.
        identity: Everything that can change a number: resolved configuration, data fingerprint, look-ahead, seed,
            windows.
        metrics: Overall, per window, per year, and the digest of the predictions. Undefined numbers are null.
        provenance: Code, libraries, machine, seconds, memory: everything that must not change a number.
        blessing: Who it replaced as the baseline, when and why; None for a snapshot that is no baseline.
    """

    suite: str
    case: str
    identity: Mapping[str, Any]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    blessing: Mapping[str, Any] | None = None

    @property
    def overall(self) -> Mapping[str, Any]:
        """Metric → value over all windows; None where undefined."""
        return self.metrics.get("overall") or {}

    @property
    def intervals(self) -> Mapping[str, Any]:
        """Metric → ``low``, ``high``, ``level``, for the mean ICs ``t`` and ``p``; empty where there are none."""
        return self.metrics.get("intervals") or {}

    @property
    def digest(self) -> str:
        """Hex SHA-256 of suite, case, identity and metrics: equal for equal results, whatever their provenance."""
        return sha256({name: getattr(self, name) for name in _DIGESTED})

    @property
    def seal(self) -> str:
        """Hex SHA-256 of everything, provenance and blessing too, against edits, not against who runs this code."""
        return sha256(self._record())

    @property
    def leak(self) -> str | None:
        """What an audit of the run found, its checks and their first finding; None when it is clean, or not audited."""
        verdict = self.provenance.get("audit")
        if not isinstance(verdict, Mapping) or verdict.get("clean") is not False:
            return None
        leaks = [check for check in verdict.get("checks", ()) if check.get("outcome") == "leak"]
        findings = [finding for check in leaks for finding in check.get("findings", ())]
        first = "".join(f": {f['what']}" + (f" ({f['where']})" if f.get("where") else "") for f in findings[:1])
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        return f"its {verdict.get('level')} audit found a leak by {', '.join(c['name'] for c in leaks)}{first}{more}"

    def to_json(self) -> str:
        """Return the canonical text: sorted keys, shortest round-trip floats, a newline at the end.

        Raises `SnapshotError` where JSON cannot give a value back unchanged: NaN, a key that is not text, an object.
        """
        where = f"{self.suite}/{self.case}"
        try:
            text = canonical_json({**self._record(), "digest": self.digest, "seal": self.seal}, indent=1)
            faithful = canonical_json(json.loads(text), indent=1) == text
        except (TypeError, ValueError) as error:
            expected = "text, whole and finite numbers, booleans, null, lists, and mappings with text keys"
            what = "The snapshot holds something that JSON cannot."
            raise SnapshotError(what, where=where, got=str(error), expected=expected) from error
        if not faithful:
            what = "The snapshot would be read back differently."
            raise SnapshotError(what, where=where, expected="mappings whose keys are text")
        return text

    def _record(self) -> dict[str, Any]:
        return {**{name: getattr(self, name) for name in _SECTIONS}, "schema_version": SCHEMA_VERSION}


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot atomically, unless it is there already."""
    write_changed(path, snapshot.to_json().encode())


def write_new_snapshot(snapshot: Snapshot, path: Path) -> bool:
    """Write a snapshot whole, unless its file is there already; return whether it was written.

    Of several writers at once exactly one writes it, and gets True. Raises `SnapshotError` where it cannot write.
    """
    try:
        return write_new(path, snapshot.to_json().encode())
    except OSError as error:
        what, expected = "The snapshot cannot be written.", "a folder on a file system with hard links, open to you"
        got = f"{type(error).__name__}: {error}"
        raise SnapshotError(what, where=str(path), got=got, expected=expected) from error


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot and check it, see `parse_snapshot`; raises `SnapshotError` when it is missing, too."""
    return parse_snapshot(_read_text(path, "a snapshot.json"), str(path))


def _read_text(path: Path, expected: str) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise SnapshotError("There is no such snapshot.", where=str(path), expected=expected) from error
    except (OSError, ValueError) as error:
        raise SnapshotError("The snapshot cannot be read.", where=str(path), got=str(error)) from error


def _record_of_text(text: str, where: str) -> object:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        what = "The snapshot cannot be read."
        raise SnapshotError(what, where=where, got=str(error), expected="JSON as it was written") from error


def _refuse_incomplete(record: Mapping[str, Any], names: Iterable[str], where: str | None) -> None:
    lacking = [name for name in names if name not in record]
    if lacking:
        raise SnapshotError("The snapshot is incomplete.", where=where, got=f"without {', '.join(lacking)}")


def parse_snapshot(text: str, where: str) -> Snapshot:
    """Return the snapshot that `text` holds; `where` names it in errors.

    Raises:
        SnapshotError: When it is not JSON, of another schema version, or not, to the byte, what `to_json` wrote.
    """
    record = _record_of_text(text, where)
    version = record.get("schema_version") if isinstance(record, dict) else None
    if not isinstance(record, dict) or version != SCHEMA_VERSION:
        hint = None
        if isinstance(version, int):
            hint = f"bench migrate {where}" if version < SCHEMA_VERSION else "upgrade the harness"
        what = "The snapshot has another schema version."
        raise SnapshotError(what, where=where, got=version, expected=SCHEMA_VERSION, hint=hint)
    _refuse_incomplete(record, (*_SECTIONS, *_GUARDS), where)
    snapshot = Snapshot(**{name: record[name] for name in _SECTIONS})
    changed = "The snapshot was changed after it was written: "
    try:
        guards = {"digest": snapshot.digest, "seal": snapshot.seal}
    except ValueError as error:
        raise SnapshotError(f"{changed}a number is not finite.", where=where, got=str(error)) from error
    for name, of in (("digest", "content"), ("seal", "provenance and blessing")):
        if guards[name] != record[name]:
            what = f"{changed}its {name} does not match its {of}."
            raise SnapshotError(what, where=where, got=record[name], expected=guards[name])
    if snapshot.to_json() != text:
        what, hint = "its text is not in canonical form.", "keep formatters and line-end conversion away from snapshots"
        raise SnapshotError(f"{changed}{what}", where=where, expected="exactly the bytes that were written", hint=hint)
    return snapshot


def sha256(content: object) -> str:
    """Return the hex SHA-256 of plain data."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _from_1(record: Mapping[str, Any]) -> dict[str, Any]:
    """Version 2 adds `blessing`, null for a plain run, and `seal`, a digest over everything, provenance included."""
    _refuse_incomplete(record, (*_DIGESTED, "provenance", "digest"), None)
    content = {name: record[name] for name in _DIGESTED}
    if sha256(content) != record["digest"]:
        raise SnapshotError("The snapshot was changed after it was written: its digest does not match its content.")
    sealed = {**content, "provenance": record["provenance"], "blessing": None, "schema_version": 2}
    return {**record, **sealed, "seal": sha256(sealed)}


Migrations = Mapping[int, Callable[[Mapping[str, Any]], dict[str, Any]]]
MIGRATIONS: Migrations = MappingProxyType({1: _from_1})


def migrate_record(record: Mapping[str, Any], migrations: Migrations = MIGRATIONS) -> dict[str, Any]:
    """Return a snapshot's record in the current schema version; `migrations` leads from each version to the next."""
    current = dict(record)
    while (version := current.get("schema_version")) != SCHEMA_VERSION:
        if not isinstance(version, int) or version not in migrations:
            known = ", ".join(str(v) for v in (*sorted(migrations), SCHEMA_VERSION))
            raise SnapshotError("There is no migration from this schema version.", got=version, expected=known)
        current = migrations[version](current)
        if current.get("schema_version") != version + 1:
            raise SnapshotError("A migration must lead to the next schema version.", where=f"from version {version}")
    return current


def migrate_file(path: Path) -> tuple[int, int]:
    """Bring a snapshot's file to the current schema in place; return the versions (from, to), equal when it was.

    The digest stays. Raises `SnapshotError` when the file cannot be read, was edited, or has an unknown version.
    """
    text = _read_text(path, "a snapshot, or a folder")
    record = _record_of_text(text, str(path))
    if not isinstance(record, dict):
        raise SnapshotError("The file holds no snapshot.", where=str(path), got=type(record).__name__)
    is_current = record.get("schema_version") == SCHEMA_VERSION
    try:
        current = text if is_current else canonical_json(migrate_record(record), indent=1)
    except SnapshotError as error:
        error.where = error.where or str(path)
        raise
    except ValueError as error:
        raise SnapshotError("A number is not finite.", where=str(path), got=str(error)) from error
    parse_snapshot(current, str(path))
    if not is_current:
        write_atomically(path, current.encode())
    return int(record["schema_version"]), SCHEMA_VERSION

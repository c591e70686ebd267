"""The snapshot: one run's identity, metrics and provenance as canonical JSON, with two digests that guard it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from harness.errors import SnapshotError
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically, write_new

SCHEMA_VERSION = 2
_SECTIONS = ("suite", "case", "identity", "metrics", "provenance", "blessing")
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
        found: Mapping[str, Any] = self.metrics.get("overall", {})
        return found

    @property
    def intervals(self) -> Mapping[str, Any]:
        """Metric → ``low``, ``high``, ``level``, for the mean ICs ``t`` and ``p``; empty where there are none."""
        return self.metrics.get("intervals") or {}

    @property
    def digest(self) -> str:
        """Hex SHA-256 of suite, case, identity and metrics: equal for equal results, whatever their provenance."""
        return _sha256({name: getattr(self, name) for name in ("suite", "case", "identity", "metrics")})

    @property
    def seal(self) -> str:
        """Hex SHA-256 of everything, provenance and blessing included.

        It guards against edits by hand and by accident, not against someone who runs this code to forge a file.
        """
        return _sha256({**self._record(), "schema_version": SCHEMA_VERSION})

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

        Raises:
            SnapshotError: When a section holds what JSON cannot give back unchanged: NaN, a key that is not text, an
                object.
        """
        record = {**self._record(), "schema_version": SCHEMA_VERSION}
        try:
            text = canonical_json({**record, "digest": self.digest, "seal": self.seal}, indent=1)
            faithful = canonical_json(json.loads(text), indent=1) == text
        except (TypeError, ValueError) as error:
            raise SnapshotError(
                "The snapshot holds something that JSON cannot.",
                where=f"{self.suite}/{self.case}",
                got=str(error),
                expected="text, whole and finite numbers, booleans, null, lists, and mappings with text keys",
            ) from error
        if not faithful:
            raise SnapshotError(
                "The snapshot would be read back differently.",
                where=f"{self.suite}/{self.case}",
                expected="mappings whose keys are text",
            )
        return text

    def _record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SECTIONS}


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of an identity."""
    return _sha256(identity)


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot atomically."""
    write_atomically(path, snapshot.to_json().encode())


def write_new_snapshot(snapshot: Snapshot, path: Path) -> bool:
    """Write a snapshot whole, unless its file is there already; return whether it was written.

    Of several writers at once exactly one is told True.

    Raises:
        SnapshotError: When the folder cannot be written.
    """
    content = snapshot.to_json().encode()
    try:
        return write_new(path, content)
    except OSError as error:
        raise SnapshotError(
            "The snapshot cannot be written.",
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            expected="a folder that you may write to, on a file system with hard links",
        ) from error


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot and check it.

    Raises:
        SnapshotError: When it is missing, not JSON, of another schema version, or changed in a single byte since it was
            written.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise SnapshotError("There is no such snapshot.", where=str(path), expected="a snapshot.json") from error
    except (OSError, ValueError) as error:
        raise SnapshotError("The snapshot cannot be read.", where=str(path), got=str(error)) from error
    return parse_snapshot(text, str(path))


def parse_snapshot(text: str, where: str) -> Snapshot:
    """Return the snapshot that `text` holds; `where` names it in errors.

    Raises:
        SnapshotError: When it is not JSON, of another schema version, or not byte for byte what `Snapshot.to_json`
            wrote.
    """
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(
            "The snapshot cannot be read.", where=where, got=str(error), expected="JSON as it was written"
        ) from error
    _check_version(record, where)
    lacking = [name for name in (*_SECTIONS, *_GUARDS) if name not in record]
    if lacking:
        raise SnapshotError("The snapshot is incomplete.", where=where, got=f"without {', '.join(lacking)}")
    snapshot = Snapshot(**{name: record[name] for name in _SECTIONS})
    _check_guards(snapshot, record, text, where)
    return snapshot


def _check_version(record: object, where: str) -> None:
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version == SCHEMA_VERSION:
        return
    is_old = isinstance(version, int) and version < SCHEMA_VERSION
    is_new = isinstance(version, int) and version > SCHEMA_VERSION
    hint = f"bench migrate {where}" if is_old else "upgrade the harness" if is_new else None
    raise SnapshotError(
        "The snapshot has another schema version.", where=where, got=version, expected=SCHEMA_VERSION, hint=hint
    )


def _check_guards(snapshot: Snapshot, record: Mapping[str, Any], text: str, where: str) -> None:
    changed = "The snapshot was changed after it was written: "
    try:
        digest, seal = snapshot.digest, snapshot.seal
    except ValueError as error:
        raise SnapshotError(f"{changed}a number is not finite.", where=where, got=str(error)) from error
    if digest != record["digest"]:
        what = f"{changed}its digest does not match its content."
        raise SnapshotError(what, where=where, got=record["digest"], expected=digest)
    if seal != record["seal"]:
        what = f"{changed}its seal does not match its provenance and blessing."
        raise SnapshotError(what, where=where, got=record["seal"], expected=seal)
    if snapshot.to_json() != text:
        raise SnapshotError(
            f"{changed}its text is not in canonical form.",
            where=where,
            expected="exactly the bytes that were written",
            hint="keep formatters and line-end conversion away from snapshots",
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _sha256(content: object) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


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

    Args:
        record: The parsed file.
        migrations: Version → function that returns the record of the next version.
        target: The version wanted.

    Raises:
        SnapshotError: When the version is unknown, newer than `target`, or the record does not pass its own version's
            check.
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

    Raises:
        SnapshotError: When the file cannot be read, was edited, or has a version without a migration.
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

"""Old snapshots are refused with the command that migrates them, and migrated without a number changing.

``data/schema_1.json`` is a file that the code of schema version 1 wrote, before `blessing` and `seal` existed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SnapshotError
from harness.snapshots.snapshot import (
    MIGRATIONS,
    SCHEMA_VERSION,
    Snapshot,
    migrate_file,
    migrate_record,
    parse_snapshot,
    read_snapshot,
)
from harness.store.artifacts import canonical_json

DATA = Path(__file__).parent / "data"
OLD = sorted(DATA.glob("schema_*.json"))


@pytest.fixture(params=OLD, ids=lambda p: p.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(request.param, tmp_path / "old.json"))


def test_there_is_an_old_file_for_every_migration() -> None:
    assert [json.loads(p.read_text())["schema_version"] for p in OLD] == sorted(MIGRATIONS)
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_an_old_file_is_refused_with_the_command_that_migrates(old: Path) -> None:
    with pytest.raises(SnapshotError, match=f"bench migrate {old}"):
        read_snapshot(old)


def test_an_old_file_is_migrated_without_a_change_of_content(old: Path) -> None:
    before = json.loads(old.read_text(encoding="utf-8"))
    assert migrate_file(old) == (before["schema_version"], SCHEMA_VERSION)
    after = read_snapshot(old)
    assert after.digest == before["digest"]
    for section in ("suite", "case", "identity", "metrics", "provenance"):
        assert getattr(after, section) == before[section]
    assert after.blessing is None


def test_migrating_twice_changes_nothing(old: Path) -> None:
    migrate_file(old)
    content = old.read_bytes()
    assert migrate_file(old) == (SCHEMA_VERSION, SCHEMA_VERSION)
    assert old.read_bytes() == content


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("0.0545", "0.0546", "changed after it was written"),
        ('"seed": 43', '"seed": 44', "changed after it was written"),
        ("0.0545", "1e999", "not finite"),
        ('"suite": "smoke"', '"suit": "smoke"', "without suite"),
        ('"schema_version": 1', '"schema_version": 0', "no migration"),
        ('"schema_version": 1', '"schema_version": 99', "no migration"),
        ('"schema_version": 1', '"schema_version": "1"', "no migration"),
        ('"suite": "smoke"', '"suite": "smoke", "extra": 1', "canonical form"),
        ("{", "", "cannot be read"),
    ],
)
def test_a_migration_does_not_launder_an_edited_file(tmp_path: Path, was: str, becomes: str, message: str) -> None:
    path = tmp_path / "s.json"
    text = (DATA / "schema_1.json").read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, becomes), encoding="utf-8")
    edited = path.read_bytes()
    with pytest.raises(SnapshotError, match=message) as caught:
        migrate_file(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == edited


def test_a_file_that_is_not_there_or_no_snapshot_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no such snapshot"):
        migrate_file(tmp_path / "s.json")
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(SnapshotError, match="holds no snapshot"):
        migrate_file(tmp_path / "s.json")


def test_an_edited_file_of_the_current_version_is_no_migration(old: Path) -> None:
    migrate_file(old)
    old.write_text(old.read_text().replace("0.0545", "0.0546"), encoding="utf-8")
    with pytest.raises(SnapshotError, match="changed after it was written"):
        migrate_file(old)


def test_migrations_are_chained_one_version_at_a_time() -> None:
    """A made-up version 0 that kept suite and case as one ``name`` and called the metrics ``results``."""
    current = json.loads((DATA / "schema_1.json").read_text(encoding="utf-8"))
    first = {k: v for k, v in current.items() if k not in ("suite", "case", "metrics")}
    first |= {"name": f"{current['suite']}/{current['case']}", "results": current["metrics"], "schema_version": 0}

    def from_0(record: Mapping[str, Any]) -> dict[str, Any]:
        suite, _, case = record["name"].partition("/")
        rest = {k: v for k, v in record.items() if k not in ("name", "results")}
        return {**rest, "suite": suite, "case": case, "metrics": record["results"], "schema_version": 1}

    migrated = migrate_record(first, {0: from_0, **MIGRATIONS})
    assert migrated == migrate_record(current)
    assert isinstance(parse_snapshot(canonical_json(migrated, indent=1), "x"), Snapshot)
    with pytest.raises(SnapshotError, match="no migration"):
        migrate_record(first)


def test_a_migration_that_skips_a_version_is_a_bug_that_is_noticed() -> None:
    with pytest.raises(SnapshotError, match="next schema version"):
        migrate_record({"schema_version": 0}, {0: lambda r: {**r, "schema_version": 2}})

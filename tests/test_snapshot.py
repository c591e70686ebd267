"""Snapshots: canonical, readable alone, and guarded against edits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import SnapshotError
from harness.snapshot import Snapshot, read_snapshot, write_snapshot

SNAPSHOT = Snapshot(
    suite="smoke",
    case="synthetic.linear",
    identity={"seed": 43, "windows": [{"test": ["2017-01-03", "2017-02-06"]}]},
    metrics={"overall": {"IC": 0.1, "ICIR": None}},
    provenance={"created": "2026-01-01T00:00:00+00:00"},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_snapshot(SNAPSHOT, tmp_path / "s.json")
    assert read_snapshot(tmp_path / "s.json") == SNAPSHOT


def test_the_digest_ignores_provenance_and_nothing_else() -> None:
    assert replace(SNAPSHOT, provenance={}).digest == SNAPSHOT.digest
    for change in (
        {"case": "x"},
        {"suite": "x"},
        {"identity": {**SNAPSHOT.identity, "seed": 44}},
        {"metrics": {"overall": {"IC": 0.1000001, "ICIR": None}}},
    ):
        assert replace(SNAPSHOT, **change).digest != SNAPSHOT.digest


def test_the_text_is_canonical(tmp_path: Path) -> None:
    text = SNAPSHOT.to_json()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


@pytest.mark.parametrize("old", ["0.1", "43", "2017-02-06", "smoke"])
def test_a_hand_edited_snapshot_is_refused(tmp_path: Path, old: str) -> None:
    path = tmp_path / "s.json"
    write_snapshot(SNAPSHOT, path)
    path.write_text(path.read_text().replace(old, {"0.1": "0.2", "43": "44"}.get(old, "other")), encoding="utf-8")
    with pytest.raises(SnapshotError, match="changed after it was written"):
        read_snapshot(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such snapshot"),
        ("{", "cannot be read"),
        ("[]", "another schema version"),
        ('{"schema_version": 99}', "another schema version"),
        ('{"schema_version": 1, "suite": "s"}', "incomplete"),
    ],
)
def test_an_unusable_snapshot_is_a_clear_error(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "s.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(SnapshotError, match=message):
        read_snapshot(path)

"""Snapshots: canonical, readable alone, and guarded against edits."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SnapshotError
from harness.snapshots.snapshot import Snapshot, parse_snapshot, read_snapshot, write_new_snapshot, write_snapshot

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
    assert replace(SNAPSHOT, provenance={}, blessing={"reason": "x"}).digest == SNAPSHOT.digest
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
        ('{"schema_version": 2, "suite": "s"}', "incomplete"),
        ('{"schema_version": 2, "metrics": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_an_unusable_snapshot_is_a_clear_error(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "s.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(SnapshotError, match=message):
        read_snapshot(path)


def test_the_seal_covers_everything() -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"case": "x"},
        {"metrics": {}},
        {"provenance": {"created": "2026-01-02T00:00:00+00:00"}},
        {"blessing": {"reason": "x"}},
    )
    for change in changes:
        assert replace(SNAPSHOT, **change).seal != SNAPSHOT.seal


def test_the_message_says_which_part_was_edited(tmp_path: Path) -> None:
    text = SNAPSHOT.to_json()
    for old, new, message in (
        ('"seed": 43', '"seed": 44', "its digest does not match its content"),
        ("2026-01-01", "2026-01-02", "its seal does not match its provenance"),
        ('"seed": 43', '"seed":  43', "not in canonical form"),
        ("0.1", "1e999", "not finite"),
    ):
        assert old in text
        with pytest.raises(SnapshotError, match=message):
            parse_snapshot(text.replace(old, new), "s.json")


def test_a_file_with_other_line_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(SNAPSHOT.to_json().replace("\n", "\r\n").encode())
    with pytest.raises(SnapshotError, match="canonical form"):
        read_snapshot(tmp_path / "s.json")


@st.composite
def edits(draw: st.DrawFn) -> bytes:
    """One to three random edits of the file: a byte replaced, removed or put in, a piece moved, doubled or cut off."""
    content = SNAPSHOT.to_json().encode()
    for _ in range(draw(st.integers(1, 3))):
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1))
        to = draw(st.integers(at + 1, min(len(content), at + 40)))
        byte = bytes([draw(st.sampled_from(sorted(b'0123456789.-eE+ \n\r\t",:{}[]azAZ_/\x00\xff')))])
        kind = draw(st.sampled_from(["replace", "insert", "delete", "double", "swap", "truncate"]))
        content = {
            "replace": content[:at] + byte + content[at + 1 :],
            "insert": content[:at] + byte + content[at:],
            "delete": content[:at] + content[to:],
            "double": content[:to] + content[at:to] + content[to:],
            "swap": content[at:to] + content[:at] + content[to:],
            "truncate": content[:at],
        }[kind]
    return content


@settings(derandomize=True, deadline=None, max_examples=400)
@given(content=edits())
def test_every_edit_is_detected(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "edited.json"
    path.write_bytes(content)
    if content == SNAPSHOT.to_json().encode():
        assert read_snapshot(path) == SNAPSHOT
        return
    with pytest.raises(SnapshotError):
        read_snapshot(path)


@pytest.mark.parametrize("metrics", [{"IC": math.nan}, {"IC": math.inf}, {2: 0.0, 10: 0.0}, {"IC": object()}])
def test_what_json_cannot_give_back_is_refused_before_it_is_written(metrics: dict[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(SnapshotError):
        write_snapshot(replace(SNAPSHOT, metrics=metrics), tmp_path / "s.json")
    assert not list(tmp_path.iterdir())


def test_of_several_writers_of_a_new_file_exactly_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.json"
    snapshots = [replace(SNAPSHOT, provenance={"writer": i}) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda s: write_new_snapshot(s, path), snapshots))
    assert sum(written) == 1
    assert read_snapshot(path) == snapshots[written.index(True)]
    assert [p.name for p in path.parent.iterdir()] == ["s.json"]

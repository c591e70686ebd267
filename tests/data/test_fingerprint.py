from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.store.fingerprint import fingerprint_arrays, fingerprint_file

BASE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(["x", "é"])}


def test_the_order_of_names_and_the_memory_layout_do_not_count():
    other = {"b": BASE["b"], "a": np.asfortranarray(BASE["a"])}
    assert fingerprint_arrays(other) == fingerprint_arrays(BASE)


def test_byte_order_does_not_count():
    assert fingerprint_arrays({"a": BASE["a"].astype(">f4")}) == fingerprint_arrays({"a": BASE["a"]})


def test_every_nan_is_the_same_and_so_is_every_zero():
    odd = np.array([0x7FC00001, 0xFFC00000, 0x80000000], dtype=np.uint32).view(np.float32)
    plain = np.array([np.nan, np.nan, 0.0], dtype=np.float32)
    assert fingerprint_arrays({"a": odd}) == fingerprint_arrays({"a": plain})


@pytest.mark.parametrize(
    "changed",
    [
        {"A": BASE["a"], "b": BASE["b"]},
        {"a": BASE["a"].reshape(3, 2), "b": BASE["b"]},
        {"a": BASE["a"].astype(np.float64), "b": BASE["b"]},
        {"a": BASE["a"], "b": np.array(["x", "e"])},
        {"a": BASE["a"]},
    ],
    ids=["name", "shape", "dtype", "text", "fewer arrays"],
)
def test_names_shapes_dtypes_and_texts_count(changed):
    assert fingerprint_arrays(changed) != fingerprint_arrays(BASE)


def test_the_input_is_left_alone():
    values = np.array([-0.0, np.nan], dtype=np.float32)
    before = values.tobytes()
    fingerprint_arrays({"a": values})
    assert values.tobytes() == before


@settings(derandomize=True, deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-10, 10, width=32)), st.integers(0, 11))
def test_a_change_of_any_single_value_changes_it(values, at):
    changed = values.copy()
    changed.flat[at] += 1
    assert fingerprint_arrays({"a": changed}) != fingerprint_arrays({"a": values})


def test_known_content_keeps_its_fingerprint_for_ever():
    # SHA-256 of "a\0<i8\0(2,)\0" and the eight-byte numbers 1 and 2.
    expected = hashlib.sha256(b"a\0<i8\0(2,)\0" + (1).to_bytes(8, "little") + (2).to_bytes(8, "little")).hexdigest()
    assert fingerprint_arrays({"a": np.array([1, 2], dtype=np.int64)}) == expected


def test_a_file_has_the_sha256_of_its_bytes(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert fingerprint_file(file) == hashlib.sha256(b"content").hexdigest()

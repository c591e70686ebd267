from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store.files import equal_files, file_name, name_of_file
from tests.data.odd_codes import FINE, ODD


@pytest.mark.parametrize("code", ["SH600000", "BRK.B", "BRK B", "^GSPC", "000001", "é", "中文", "a_qlib_b", "COM10"])
def test_a_name_that_every_file_system_takes_is_its_own_file_name(code):
    assert file_name(code) == code


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("CON", "_qlib_CON"),
        ("lpt9", "_qlib_lpt9"),
        ("_qlib_con", "%5Fqlib_con"),
        ("con.b", "%63on.b"),
        ("ADA/USDT", "ADA%2FUSDT"),
        ("a\\b", "a%5Cb"),
        ("100%", "100%25"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("A.", "A%2E"),
    ],
)
def test_devices_are_escaped_as_qlib_does_and_what_no_file_may_hold_by_its_number(name, file):
    assert file_name(name) == file


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.one_of(st.sampled_from(ODD), FINE, st.text(max_size=8), st.from_regex(r"_?(qlib_)*(con|%[0-9a-f]{2})")))
def test_every_name_is_found_again_from_its_file_name(name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    file = file_name(name)
    assert name_of_file(file) == name
    assert not re.search(r'[/\\:*?"<>|\x00-\x1f]', file)
    assert file not in (".", "..")
    assert not file.endswith((".", " "))


def test_names_whose_files_are_one_on_some_system_are_found():
    assert equal_files(["abc", "x", "ABC", "e\u0301", "\u00c9", "x"]) == [
        ("abc", "ABC"),
        ("e\u0301", "\u00c9"),
        ("x", "x"),
    ]
    assert equal_files(["a/b", "a%2Fb", "a b", "_qlib_con", "con"]) == []

"""A message stays readable whatever the size of what it speaks of."""

from __future__ import annotations

import time

import numpy as np
import pytest

from harness.errors import ConfigError, DataError, closest, shortened
from harness.features.engine import compute_expression
from harness.features.expression import parse
from tests.features.panels import make_panel, random_fields

LONG = 1_000_000


@pytest.mark.parametrize("part", ["what", "where", "got", "expected", "hint"])
def test_a_long_value_is_shortened_in_the_message_and_whole_in_the_error(part: str) -> None:
    error = DataError(**{"what": "It is wrong.", part: "a" * LONG})
    assert len(str(error)) < 5_000
    assert "more characters" in str(error)
    assert str(error).count("\n") <= 3
    assert getattr(error, part) == "a" * LONG


def test_a_long_list_is_shortened_and_its_ends_are_kept() -> None:
    text = shortened("\n".join(map(str, range(1000))))
    assert text.startswith("0\n1\n")
    assert "(940 more lines)" in text
    assert text.endswith("998\n999")
    assert shortened("short\nlines") == "short\nlines"


def test_nothing_is_suggested_for_a_name_of_a_megabyte() -> None:
    begin = time.process_time()
    assert closest("a" * LONG, ["a" * 50]) is None
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize(
    "text",
    [
        *(
            "$close" + "**2" * 1000,
            "$close" + "**2" * 300,
            "Abs(" * 1000 + "$close" + ")" * 1000,
            "-" * 3000 + "$close",
        ),
        *(
            "If($close>1," * 500 + "$close" + ",1)" * 500,
            "$" + "a" * LONG,
            "A" * LONG + "($close)",
            "$close+" + "b" * LONG,
        ),
        *(
            "9" * LONG + "*$close",
            ")" * 5000,
            "$close " * 5000,
            f"Mask($close, '{'x' * LONG}')",
        ),
    ],
    ids=lambda text: text[:9],
)
def test_an_expression_of_any_length_and_depth_is_computed_or_refused_in_a_short_message(text: str) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        compute_expression(make_panel(random_fields(0, times=5, instruments=1)), text)
    assert len(str(caught.value)) < 8_000


@pytest.mark.parametrize("terms", [200, 199])
def test_an_expression_at_the_limit_is_computed(terms: int) -> None:
    panel = make_panel(random_fields(0, times=5, instruments=1))
    compute_expression(panel, "+".join(["$close"] * terms))
    compute_expression(panel, "Abs(" * 50 + "$close" + ")" * 50)
    compute_expression(panel, "$close" + "**1" * 50)
    for text in ("Ref($close, N)", "Ref($close, -N)", "Mean($close, N) + Delta($close, N)", "EMA(Ref($close, N), N)"):
        assert np.isnan(compute_expression(panel, text.replace("N", "9" * 300))).all()


def test_operators_inside_each_other_are_limited_however_they_come_about() -> None:
    text = "$close"
    for _ in range(4):
        text = f"({text}{'+$open' * 60})"
    with pytest.raises(ConfigError, match="ore than 200"):
        parse(text)

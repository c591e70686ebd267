"""The expression language: what it accepts, how it groups, and errors that point at the column."""

from __future__ import annotations

import math
import operator as python
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.features.expression import (
    INFIX,
    OPERATORS,
    Call,
    Expression,
    Field,
    Number,
    Parameter,
    fields_of,
    look_ahead,
    parse,
)
from harness.features.feature_set import ALPHA158, ALPHA360
from harness.features.lowering import lower


def canonical(text: str) -> str:
    return str(parse(text))


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("$a+$b*$c", "($a+($b*$c))"),
        ("$a-$b-$c", "(($a-$b)-$c)"),
        ("$a/$b/$c", "(($a/$b)/$c)"),
        ("$a**$b**$c", "($a**($b**$c))"),
        ("-$a**2", "(-1*($a**2))"),
        ("$a**-2", "($a**-2)"),
        ("-$a*$b", "((-1*$a)*$b)"),
        ("$a+$b>$c*2", "(($a+$b)>($c*2))"),
        ("($a>$b)&($b>$c)|($c>$a)", "((($a>$b)&($b>$c))|($c>$a))"),
        ("+$a", "$a"),
        ("2*3*$a", "(6*$a)"),
        ("Mean($a, 2*5)", "Mean($a, 10)"),
        ("Gt($a, $b)", "($a>$b)"),
        ("Add($a, 1)", "($a+1)"),
        ("$a+1e-12", "($a+1e-12)"),
        (".5*$a", "(0.5*$a)"),
        ("Mask($a, sh600000)", 'Mask($a, "sh600000")'),
        ("Mask($a, 'SH600000')", 'Mask($a, "SH600000")'),
        ("Ref($a,\n  -5)", "Ref($a, -5)"),
    ],
)
def test_expressions_group_as_in_python(text: str, grouped: str) -> None:
    assert canonical(text) == grouped


def test_equal_expressions_are_equal_whatever_their_spelling() -> None:
    assert parse("Ref( $close,1 ) / $close") == parse("Div(Ref($close, 1.0), $close)")
    assert len({parse("$a>$b"), parse("Gt($a,$b)"), parse("($a) > $b")}) == 1
    assert parse("$a-$b") != parse("$b-$a")


def test_an_expression_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse("$close").name = "open"  # type: ignore[misc, union-attr]


@pytest.mark.parametrize("text", sorted({*ALPHA158.values(), *ALPHA360.values()}))
def test_canonical_text_of_the_known_factors_reads_back(text: str) -> None:
    assert parse(canonical(text)) == parse(text)


def expressions() -> st.SearchStrategy[Expression]:
    numbers = st.one_of(
        st.integers(-50, 50).map(float), st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from([1e-12, 1e300])
    ).map(Number)
    fields = st.sampled_from(["close", "open", "volume_5"]).map(Field)
    parameters = {
        Parameter.WINDOW: st.sampled_from([0, 5, 20, 60]),
        Parameter.DECAY: st.sampled_from([0, 0.25, 1, 2.5]),
        Parameter.SHIFT: st.integers(-70, 70),
        Parameter.LEVEL: st.sampled_from([0, 0.2, 0.8, 1]),
        Parameter.INSTRUMENT: st.sampled_from(["SH600000", "sz000001"]),
    }

    def call(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        calls = []
        for operator in OPERATORS.values():
            if operator.needs_condition or operator.name == "Sub":  # subtraction of conditions is refused
                continue
            series = [children] * operator.series
            if operator.allows_numbers:
                series[-1] = st.one_of(children, numbers)
            arguments = st.tuples(*series), st.tuples(*(parameters[p] for p in operator.parameters))
            calls.append(st.builds(Call, st.just(operator.name), *arguments))
        return st.one_of(calls)

    return st.recursive(fields, call, max_leaves=12)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(expressions())
def test_canonical_text_reads_back_to_an_equal_expression(expression: Expression) -> None:
    assert parse(str(expression)) == expression
    assert hash(parse(str(expression))) == hash(expression)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.lists(st.sampled_from([*"()+-*/,><&|", "$close", "Mean", "Ref", "If", "5", "0.5", "SH1", " ", "$", "'x"])))
def test_any_text_is_an_expression_or_a_readable_error(tokens: list[str]) -> None:
    mistakes = []
    try:
        parse("".join(tokens))
    except ConfigError as error:
        mistakes.append(error)
    assert all(str(mistake.where).startswith("column ") and "^" in str(mistake.got) for mistake in mistakes)


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("Men($close, 5)", 1, "Unknown operator `Men`"),
        ("$open + Meen($close, 5)", 9, "Unknown operator `Meen`"),
        ("Mean($close)", 1, "takes 2 argument(s), not 1"),
        ("Mean($close, 5, 3)", 1, "takes 2 argument(s), not 3"),
        ("Mean()", 1, "takes 2 argument(s), not 0"),
        ("(Mean($close, 5)", 1, "never closed"),
        ("Mean($close, 5", 5, "never closed"),
        ("Mean($close, 5))", 16, "closes nothing"),
        ("Mean($close 5)", 13, "does not continue the expression"),
        ("$close$open", 7, "does not continue the expression"),
        ("5($close)", 2, "does not continue the expression"),
        ("Mean($close, 5)(3)", 16, "does not continue the expression"),
        ("($close, $open)", 8, "`,` cannot stand here"),
        ("$close, $open", 7, "`,` cannot stand here"),
        ("()", 2, "`)` cannot stand here"),
        ("$close // $open", 9, "`/` cannot stand here"),
        ("$close << 2", 9, "`<` cannot stand here"),
        ("Mean(*$close, 5)", 6, "`*` cannot stand here"),
        ("Mean(**$close)", 6, "`**` cannot stand here"),
        ("~($close > 1)", 1, "not part of the language"),
        ("($close > 1) and ($open > 1)", 14, "does not continue the expression"),
        ("not ($close > 1)", 1, "Unknown operator `not`"),
        ("$close if $open else 1", 8, "does not continue the expression"),
        ("1_000*$close", 2, "does not continue the expression"),
        ("$close.real", 7, "not part of the language"),
        ("Corr($close, open, 5)", 14, "neither a field nor an operator"),
        ("$close $open", 8, "does not continue the expression"),
        ("Mean($close, -5)", 14, "cannot use this window"),
        ("Mean($close, 2.5)", 14, "cannot use this window"),
        ("Mean($close, $open)", 14, "cannot use this window"),
        ("Skew($close, 2)", 14, "cannot use this window"),
        ("Kurt($close, 3)", 14, "cannot use this window"),
        ("Ref($close, 0.5)", 13, "cannot use this shift"),
        ("EMA($close, -1)", 13, "cannot use this decay"),
        ("Quantile($close, 5, 80)", 21, "cannot use this level"),
        ("Mask($close, 5)", 14, "cannot use this instrument"),
        ("Mean(5, 5)", 6, "needs a series, not a number"),
        ("$close > $open > $low", 16, "cannot be chained"),
        ("$close & $open", 1, "needs a condition"),
        ("Not($close)", 5, "needs a condition"),
        ("($close > 1) - ($open > 1)", 14, "cannot be subtracted"),
        ("If(1, $close, $open)", 4, "condition of `If` is a number"),
        ("1/0 + $close", 2, "not a number"),
        ("1e999*$close", 1, "too large"),
        ("close", 1, "neither a field nor an operator"),
        ("Mean", 1, "needs arguments"),
        ("SH600000 + $close", 1, "neither a field nor an operator"),
        ("5", 1, "A number is not a series"),
        ("1 > 2", 1, "needs at least one series"),
        ("", 1, "empty"),
        ("   ", 4, "empty"),
        ("$close +", 9, "ends too early"),
        ("$close # $open", 8, "not part of the language"),
        ("__import__('os')", 1, "Unknown operator"),
        ("$$roe_q", 1, "not part of the language"),
        ("(" * 500 + "$close", 201, "nested more than"),
        ("-" * 500 + "$close", 201, "nested more than"),
        ("$a" + "+$a" * 500, 1, "nested more than"),
    ],
)
def test_a_mistake_is_named_and_its_column_shown(text: str, column: int, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert what in caught.value.what
    assert caught.value.where == f"column {column}"
    lines = str(caught.value).split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith("  got:"))
    assert lines[at] == f"  got:      {text}"
    assert lines[at + 1] == " " * (12 + column - 1) + "^"


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("Abs(", ")"), ("-", ""), ("$a+", ""), ("$a**-", ""), ("Abs(-(", "))")]
)
@pytest.mark.parametrize("levels", [201, 5_000, 50_000])
def test_an_expression_that_is_nested_too_deep_is_refused_however_deep(opening: str, closing: str, levels: int) -> None:
    with pytest.raises(ConfigError, match="nested more than 200 deep") as caught:
        parse(opening * levels + "$a" + closing * levels)
    assert len(str(caught.value)) < 3_000


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("Abs(", ")"), ("-", ""), ("$a+", ""), ("If($a, 2, ", ")")]
)
def test_an_expression_may_be_199_deep_and_is_computed(opening: str, closing: str) -> None:
    expression = parse(opening * 199 + "$a" + closing * 199)
    assert fields_of(expression) == {"a"}
    assert look_ahead(expression) == 0
    assert str(expression).count("$a") >= 1
    _, outputs = lower((expression,))
    assert outputs


@st.composite
def python_texts(draw: st.DrawFn) -> str:
    """Draw a text of names, numbers, signs and parentheses, written as Python would have it too."""
    text = draw(st.sampled_from(["a", "b", "c", "2.5", "7"]))
    for _ in range(draw(st.integers(1, 8))):
        other = draw(st.sampled_from(["a", "b", "c", "-a", "0.5", "(b - c)"]))
        sign = draw(st.sampled_from(["+", "-", "*", "/", "**"]))
        text = draw(st.sampled_from([f"{text} {sign} {other}", f"{other}{sign}{text}", f"-{text}", f"({text})"]))
    return f"{text} > a" if draw(st.booleans()) else f"{text} + a"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(python_texts())
def test_expressions_group_as_python_evaluates_them(text: str) -> None:
    values = {"a": 1.25, "b": 0.75, "c": 1.5}
    operations = {
        **{"Add": python.add, "Sub": python.sub, "Mul": python.mul, "Div": python.truediv},
        **{"Power": python.pow, "Gt": python.gt},
    }

    def evaluate(expression: Expression) -> Any:
        if isinstance(expression, Number):
            return expression.value
        if isinstance(expression, Field):
            return values[expression.name]
        return operations[expression.operator](*map(evaluate, expression.series))

    try:
        expected = eval(text, {}, values)  # text of this test's own making
        is_real = isinstance(expected, bool | float) and math.isfinite(expected)
    except (ArithmeticError, TypeError):
        is_real = False
    assume(is_real)
    try:
        found = evaluate(parse(re.sub("[abc]", lambda name: f"${name[0]}", text)))
    except ConfigError:  # constants are folded, and not into a complex or infinite number
        assume(False)
    assert found == pytest.approx(expected)


def test_an_unknown_operator_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `Slope`"):
        parse("Slop($close, 5)")


def test_the_table_of_operators_and_the_signs_agree() -> None:
    assert set(INFIX.values()) <= set(OPERATORS)
    language = (
        "Ref Mean Std Var Sum Max Min IdxMax IdxMin Quantile Rank Slope Rsquare Resi Corr Cov Delta EMA WMA Med Mad "
        "Skew Kurt Count Abs Sign Log Power Greater Less If And Or Not Gt Ge Lt Le Eq Ne Mask Add Sub Mul Div"
    )
    assert set(OPERATORS) == set(language.split())


def test_the_fields_that_an_expression_reads_are_known() -> None:
    assert fields_of(parse("Mean($close, 5)/$open + If($volume > 1, 1, $close)")) == {"close", "open", "volume"}

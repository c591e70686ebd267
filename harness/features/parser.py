"""Text → expression: a tokenizer and a recursive-descent parser with Python's precedence, as qlib has it.

Nothing is ever evaluated as code. Every error points at its column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from harness.errors import ConfigError, closest
from harness.features.expression import (
    INFIX,
    OPERATORS,
    Call,
    Expression,
    Field,
    Number,
    Operator,
    Parameter,
    is_condition,
)

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<field>\$\w+)
    | (?P<name>[^\W\d]\w*)
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<sign>\*\*|>=|<=|==|!=|[-+*/()<>,&|])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_COMPARISONS = frozenset({">", ">=", "<", "<=", "==", "!="})
_DEEPEST = 50  # a level of parentheses takes about ten Python frames
_LONGEST = 200
_TALLEST = 200  # operators above each other: each takes up to five Python frames when a plan is made of them
_SHOWN = 1_600  # characters of an expression that a message shows; of a longer one, those around the column
_MARGIN = 60


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int  # counted from 0


@dataclass(frozen=True)
class _Text:
    """An instrument's code: only a parameter, never a series."""

    value: str


_Value = Expression | _Text


def parse(text: str) -> Expression:
    """Return the expression that `text` says.

    Raises:
        ConfigError: Unknown operator, wrong number of arguments, unbalanced parenthesis, impossible window, a condition
            where a number is needed or the other way round. The message shows the text with a caret under the offending
            column.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = re.sub(r"\s", " ", text)
        self._tokens = self._tokenize()
        self._at = 0
        self._depth = 0
        self._heights: dict[int, int] = {}  # of the calls made so far, by identity: they live as long as the parser

    def parse(self) -> Expression:
        first = self._peek
        if first.kind == "end":
            self._fail("The expression is empty.", first, expected="such as `Mean($close, 5)/$close`")
        value = self._comparison()
        if self._peek.text == ")":
            self._fail("This parenthesis closes nothing.", self._peek)
        if self._peek.kind != "end":
            self._fail(f"`{self._peek.text}` does not continue the expression.", self._peek, expected="an operator")
        return self._series(value, first)

    def _tokenize(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while not tokens or tokens[-1].kind != "end":
            match = _TOKEN.match(self._text, position)
            if match is None or match.lastgroup is None:
                column = position + len(self._text[position:]) - len(self._text[position:].lstrip())
                bad = self._text[column]
                hint = "`$$` (point-in-time fields) is not supported" if self._text[column:].startswith("$$") else None
                self._fail(f"`{bad}` is not part of the language.", _Token("sign", bad, column), hint=hint)
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            position = match.end()
        return tokens

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _comparison(self) -> _Value:
        first = self._peek
        left = self._or()
        if self._peek.text not in _COMPARISONS:
            return left
        sign = self._take()
        value = self._infix(sign, (left, first), self._operand(self._or))
        if self._peek.text in _COMPARISONS:
            self._fail("Comparisons cannot be chained.", self._peek, hint="put parentheses: `(a > b) & (c > d)`")
        return value

    def _or(self) -> _Value:
        return self._left_associative(("|",), self._and)

    def _and(self) -> _Value:
        return self._left_associative(("&",), self._sum)

    def _sum(self) -> _Value:
        return self._left_associative(("+", "-"), self._product)

    def _product(self) -> _Value:
        return self._left_associative(("*", "/"), self._unary)

    def _left_associative(self, signs: tuple[str, ...], operand: Callable[[], _Value]) -> _Value:
        first = self._peek
        value = operand()
        terms = 1
        while self._peek.kind == "sign" and self._peek.text in signs:
            sign = self._take()
            terms += 1
            if terms > _LONGEST:
                self._fail(f"More than {_LONGEST} terms follow each other.", sign, hint="group them in parentheses")
            value = self._infix(sign, (value, first), self._operand(operand))
        return value

    def _operand(self, rule: Callable[[], _Value]) -> tuple[_Value, _Token]:
        first = self._peek
        return rule(), first

    def _unary(self) -> _Value:
        sign = self._peek
        if sign.text not in ("-", "+"):
            return self._power()
        self._take()
        self._enter(sign)
        value, first = self._operand(self._unary)
        self._depth -= 1
        return (
            value
            if sign.text == "+"
            else self._infix(_Token("sign", "*", sign.column), (Number(-1.0), sign), (value, first))
        )

    def _power(self) -> _Value:
        first = self._peek
        base = self._atom()
        if self._peek.text != "**":
            return base
        sign = self._take()
        self._enter(sign)
        exponent = self._operand(self._unary)
        self._depth -= 1
        return self._infix(sign, (base, first), exponent)

    def _atom(self) -> _Value:
        token = self._take()
        if token.kind == "number":
            return Number(self._finite(float(token.text), token))
        if token.kind == "field":
            return Field(token.text[1:])
        if token.kind == "text":
            return _Text(token.text[1:-1])
        if token.kind == "name":
            return self._call(token) if self._peek.text == "(" else self._bare_name(token)
        if token.text == "(":
            self._enter(token)
            value = self._comparison()
            self._close(token)
            return value
        what = "The expression ends too early." if token.kind == "end" else f"`{token.text}` cannot stand here."
        self._fail(what, token, expected="a field like `$close`, a number, an operator, or `(`")

    def _bare_name(self, token: _Token) -> _Text:
        if self._tokens[self._at - 2].text == "," or token.text in OPERATORS:
            hint = f"write `{OPERATORS[token.text].usage}`" if token.text in OPERATORS else None
            if hint is None:
                return _Text(token.text)
            self._fail(f"`{token.text}` needs arguments.", token, hint=hint)
        self._fail(f"`{token.text}` is neither a field nor an operator.", token, hint=f"a field is `${token.text}`")

    def _call(self, name: _Token) -> Expression:
        operator = OPERATORS.get(name.text)
        if operator is None:
            hint = closest(name.text, OPERATORS)
            self._fail(f"Unknown operator `{name.text}`.", name, expected=" ".join(OPERATORS), hint=hint)
        opening = self._take()
        self._enter(name)
        arguments: list[tuple[_Value, _Token]] = []
        while self._peek.text != ")" or not arguments:
            if self._peek.text == ")":
                break
            arguments.append(self._operand(self._comparison))
            if self._peek.text != ",":
                break
            self._take()
        self._close(opening)
        if len(arguments) != operator.arity:
            what = f"`{operator.name}` takes {operator.arity} argument(s), not {len(arguments)}."
            self._fail(what, name, expected=operator.usage)
        return self._build(operator, name, arguments)

    def _enter(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            hint = "name a part of it as a feature of its own, or write it with fewer levels"
            self._fail(f"The expression is nested more than {_DEEPEST} deep.", token, hint=hint)

    def _close(self, opening: _Token) -> None:
        if self._peek.kind == "end":
            self._fail("This parenthesis is never closed.", opening, expected="`)` at the end of its arguments")
        if self._peek.text != ")":
            self._fail(f"`{self._peek.text}` does not continue the argument.", self._peek, expected="`,` or `)`")
        self._take()
        self._depth -= 1

    def _infix(self, sign: _Token, left: tuple[_Value, _Token], right: tuple[_Value, _Token]) -> Expression:
        a, b = left[0], right[0]
        if isinstance(a, Number) and isinstance(b, Number) and sign.text in ("+", "-", "*", "/", "**"):
            return Number(self._fold(sign, a.value, b.value))
        return self._build(OPERATORS[INFIX[sign.text]], sign, [left, right])

    def _fold(self, sign: _Token, a: float, b: float) -> float:
        folded: dict[str, Callable[[], float]] = {
            **{"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b},
            **{"/": lambda: a / b, "**": lambda: math.pow(a, b)},
        }
        try:
            return self._finite(folded[sign.text](), sign)
        except (ArithmeticError, ValueError):
            self._fail(f"{a:g} {sign.text} {b:g} is not a number.", sign)

    def _finite(self, value: float, token: _Token) -> float:
        if not math.isfinite(value):
            self._fail("This number is too large.", token)
        return value

    def _build(self, operator: Operator, token: _Token, arguments: list[tuple[_Value, _Token]]) -> Expression:
        given = arguments[: operator.series]
        series = tuple(self._series(value, first, operator) for value, first in given)
        trailing = zip(operator.parameters, arguments[operator.series :], strict=True)
        parameters = tuple(self._parameter(kind, operator, *argument) for kind, argument in trailing)
        if all(isinstance(s, Number) for s in series):
            self._fail(f"`{operator.name}` needs at least one series.", given[0][1], expected=operator.usage)
        if operator.name == "If" and isinstance(series[0], Number):
            self._fail("The condition of `If` is a number.", given[0][1], expected="such as `$close > $open`")
        if operator.name == "Sub" and all(map(is_condition, series)):
            self._fail("Conditions cannot be subtracted.", token, hint="`If(condition, 1, 0)` makes numbers of them")
        call = Call(operator.name, series, parameters)
        self._heights[id(call)] = height = 1 + max(self._heights.get(id(s), 0) for s in series)
        if height > _TALLEST:
            what = f"More than {_TALLEST} operators stand one inside the other."
            self._fail(what, token, hint="group long sums in parentheses of equal size: (a + b) + (c + d)")
        return call

    def _series(self, value: _Value, first: _Token, operator: Operator | None = None) -> Expression:
        if isinstance(value, _Text):
            self._fail("An instrument's code stands where a series is needed.", first, hint="a field begins with `$`")
        if isinstance(value, Number) and (operator is None or not operator.allows_numbers):
            what = f"`{operator.name}` needs a series, not a number." if operator else "A number is not a series."
            self._fail(what, first, expected=operator.usage if operator else "an expression that reads a field")
        if operator is not None and operator.needs_condition and not is_condition(value):
            hint = "comparisons need their own parentheses beside `&` and `|`: `($close > $open) & ($volume > 0)`"
            self._fail(f"`{operator.name}` needs a condition here.", first, hint=hint)
        return value

    def _parameter(self, kind: Parameter, operator: Operator, value: _Value, first: _Token) -> float | str:
        if kind is Parameter.INSTRUMENT:
            if isinstance(value, _Text) and value.value:
                return value.value
        elif isinstance(value, Number):
            number = value.value
            whole = number == int(number)
            allowed = {
                Parameter.WINDOW: whole and (number == 0 or number >= operator.smallest_window),
                Parameter.DECAY: number >= 0,
                Parameter.SHIFT: whole,
                Parameter.LEVEL: 0 <= number <= 1,
            }[kind]
            if allowed:
                return int(number) if whole else number
        expected = kind.value
        if kind is Parameter.WINDOW and operator.smallest_window > 1:
            expected += f"; at least {operator.smallest_window} for `{operator.name}`"
        self._fail(f"`{operator.name}` cannot use this {kind.name.lower()}.", first, expected=expected)

    def _fail(self, what: str, token: _Token, *, expected: str | None = None, hint: str | None = None) -> NoReturn:
        margin = " " * 12  # as wide as the label that `HarnessError` puts before a value
        begin, end = max(0, token.column - _MARGIN), token.column + _MARGIN
        if len(self._text) <= _SHOWN:
            begin, end = 0, len(self._text)
        before, after = "… " if begin else "", " …" if end < len(self._text) else ""
        pointer = " " * (len(before) + token.column - begin)
        got = f"{before}{self._text[begin:end]}{after}\n{margin}{pointer}^"
        raise ConfigError(what, where=f"column {token.column + 1}", got=got, expected=expected, hint=hint)

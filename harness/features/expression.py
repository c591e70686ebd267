"""Expressions: parsing them, and which times they read, known before any data is.

Python's own parser groups a text, with Python's precedence, as qlib has it; nothing is evaluated. It sees a mask of the
text: every field, number, code and name is a word of the same length. So its columns are the text's, and it can find
neither keywords nor literals of its own.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import NoReturn

from harness.errors import ConfigError, closest


class Parameter(Enum):
    """What an operator's trailing argument means."""

    WINDOW = "a window: a whole number of periods, or 0 for everything since the first time"
    DECAY = "a span of at least 1, a smoothing factor between 0 and 1, or 0 for an expanding mean"
    SHIFT = "a shift: a whole number of periods, negative into the future, or 0 for the first time"
    LEVEL = "a quantile level between 0 and 1"
    INSTRUMENT = "an instrument's code"


@dataclass(frozen=True)
class Operator:
    """One operator."""

    name: str
    series: int  # how many series it takes, before its parameters, the trailing arguments
    parameters: tuple[Parameter, ...] = ()
    gives_condition: bool = False  # its result is true or false, never missing
    needs_condition: bool = False  # it takes only conditions
    allows_numbers: bool = False  # a number may stand in place of some, but not all, of its series
    smallest_window: int = 1  # the smallest window except 0

    @property
    def arity(self) -> int:
        """The number of arguments."""
        return self.series + len(self.parameters)

    @property
    def usage(self) -> str:
        """The call as a user writes it, such as ``Mean(series, window)``."""
        series = ["series"] if self.series == 1 else [f"series{i + 1}" for i in range(self.series)]
        return f"{self.name}({', '.join(series + [p.name.lower() for p in self.parameters])})"


_WINDOW = (Parameter.WINDOW,)
_OVER_WINDOWS = ("Mean", "Std", "Var", "Sum", "Max", "Min", "IdxMax", "IdxMin", "Med", "Mad", "Rank", "Count", "Slope")
_OPERATORS = (
    *(Operator(name, 1, (Parameter.SHIFT,)) for name in ("Ref", "Delta")),
    *(Operator(name, 1, _WINDOW) for name in (*_OVER_WINDOWS, "Rsquare", "Resi", "WMA")),
    Operator("Skew", 1, _WINDOW, smallest_window=3),
    Operator("Kurt", 1, _WINDOW, smallest_window=4),
    Operator("Quantile", 1, (Parameter.WINDOW, Parameter.LEVEL)),
    *(Operator(name, 2, _WINDOW) for name in ("Corr", "Cov")),
    Operator("EMA", 1, (Parameter.DECAY,)),
    *(Operator(name, 1) for name in ("Abs", "Sign", "Log")),
    *(Operator(name, 2, allows_numbers=True) for name in ("Add", "Sub", "Mul", "Div", "Power", "Greater", "Less")),
    *(Operator(name, 2, gives_condition=True, allows_numbers=True) for name in ("Gt", "Ge", "Lt", "Le", "Eq", "Ne")),
    *(Operator(name, n, gives_condition=True, needs_condition=True) for name, n in (("And", 2), ("Or", 2), ("Not", 1))),
    Operator("If", 3, allows_numbers=True),
    Operator("Mask", 1, (Parameter.INSTRUMENT,)),
)
OPERATORS: Mapping[str, Operator] = MappingProxyType({operator.name: operator for operator in _OPERATORS})
INFIX: Mapping[str, str] = MappingProxyType(
    {
        **{"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "**": "Power", "&": "And", "|": "Or"},
        **{">": "Gt", ">=": "Ge", "<": "Lt", "<=": "Le", "==": "Eq", "!=": "Ne"},
    }
)

_SYMBOLS = {name: symbol for symbol, name in INFIX.items()}


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


@dataclass(frozen=True)
class Field:
    """A raw field of the panel, written ``$close``."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True)
class Number:
    """A constant; ``5`` and ``5.0`` are the same."""

    value: float

    def __str__(self) -> str:
        return _plain(self.value)


@dataclass(frozen=True)
class Call:
    """An operator applied to series."""

    operator: str  # a key of `OPERATORS`; infix signs are stored under their names (``+`` is ``Add``)
    series: tuple[Expression, ...]  # the input series, in order; a `Number` where the operator allows one
    parameters: tuple[float | str, ...] = ()  # windows, shifts, levels or an instrument's code, in order

    def __str__(self) -> str:
        """Return canonical text that parses back to an equal expression."""
        if self.operator in _SYMBOLS:
            left, right = self.series
            return f"({left}{_SYMBOLS[self.operator]}{right})"
        parameters = [f'"{p}"' if isinstance(p, str) else _plain(p) for p in self.parameters]
        return f"{self.operator}({', '.join([*map(str, self.series), *parameters])})"


Expression = Field | Number | Call


def walk(*expressions: Expression) -> Iterator[Expression]:
    """Yield every different part of the expressions once, inputs before what reads them; however deep they are."""
    seen: set[Expression] = set()
    stack = [(expression, False) for expression in reversed(expressions)]
    while stack:
        part, has_inputs = stack.pop()
        if has_inputs:
            yield part
        elif part not in seen:
            seen.add(part)
            stack.append((part, True))
            if isinstance(part, Call):
                stack += [(series, False) for series in reversed(part.series)]


def is_condition(expression: Expression) -> bool:
    """Return True when every value is true or false; NumPy's rules for booleans decide, as they do in qlib."""
    if not isinstance(expression, Call):
        return False
    operator, series = expression.operator, expression.series
    if OPERATORS[operator].gives_condition:
        return True
    if operator not in ("Add", "Mul", "Greater", "Less", "Abs", "Mask", "If"):
        return False
    return all(map(is_condition, series[1:] if operator == "If" else series))


def fields_of(*expressions: Expression) -> frozenset[str]:
    """Return the names of all raw fields that the expressions read."""
    return frozenset(part.name for part in walk(*expressions) if isinstance(part, Field))


def look_ahead(expression: Expression, known_ahead: Mapping[str, int] = MappingProxyType({})) -> int:
    """Return how many times after t something becomes known that a value at t reads; 0 when it never reads the future.

    Exact, not an upper bound: ``Ref(Ref($close, -5), 5)`` reads time t only. `known_ahead` says how many times before
    its own a field is known; the others are known at their time.
    """
    return int(max(0.0, _reach(expression, known_ahead)[1]))


@lru_cache(maxsize=4096)
def look_back(expression: Expression) -> int | None:
    """Return how many times before t a value at t reads; None when it reads back to the first time.

    Expanding windows (0), ``EMA`` and a reference to the first time have no bound. Where a series begins (when its
    windows begin to fill) may lie further back than a bounded value reads.
    """
    back = max(0.0, -_reach(expression)[0])
    return None if math.isinf(back) else int(back)


def windows_of(expressions: Sequence[Expression]) -> int | None:
    """Return how many times before its own a value of one of them reads; None when one reads back to the first."""
    backs = [back for back in map(look_back, expressions) if back is not None]
    return max(backs, default=0) if len(backs) == len(expressions) else None


def _reach(expression: Expression, known_ahead: Mapping[str, int] = MappingProxyType({})) -> tuple[float, float]:
    """Return the oldest time that a value at time 0 reads, and when the newest becomes known; none: (inf, −inf)."""
    if isinstance(expression, Field):
        return 0.0, 0.0 - known_ahead.get(expression.name, 0)
    if not isinstance(expression, Call):
        return math.inf, -math.inf
    oldest, newest = zip(*(_reach(series, known_ahead) for series in expression.series), strict=True)
    kinds, back, ahead = OPERATORS[expression.operator].parameters, 0.0, 0.0
    if kinds and kinds[0] is not Parameter.INSTRUMENT:
        by = float(expression.parameters[0])
        back, ahead = (by, -by) if kinds[0] is Parameter.SHIFT else (by - 1, 0.0)
        if kinds[0] is Parameter.DECAY or by == 0:
            back, ahead = math.inf, 0.0
        if expression.operator == "Delta":  # the series itself too
            back, ahead = max(back, 0.0), max(ahead, 0.0)
    return min(oldest) - back, max(newest) + ahead


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<field>\$\w+)
    | (?P<name>[^\W\d]\w*)
    | (?P<code>"[^"]*"|'[^']*')
    | (?P<sign>\*\*|>=|<=|==|!=|[-+*/()<>,&|])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    **{"+": float.__add__, "-": float.__sub__, "*": float.__mul__, "/": float.__truediv__, "**": math.pow},
}
_DEEPEST = 200  # levels of operators or of parentheses: whatever walks an expression takes a few frames for each
_DEEP = f"The expression is nested more than {_DEEPEST} deep."
_SHALLOWER = "name a part of it as a feature of its own; group long sums in parentheses: (a + b) + (c + d)"
_OPERAND = "a field like `$close`, a number, an operator, or `(`"
_SHOWN = 1_600  # characters of an expression that a message shows; of a longer one, those around the column
_MARGIN = 60

_Operand = tuple[Expression, int]  # with its column


@lru_cache(maxsize=4096)
def parse(text: str, where: str | None = None) -> Expression:
    """Return the expression that `text` says; an error names `where` it stands, such as ``features: MA5``.

    Raises:
        ConfigError: Unknown operator, wrong number of arguments, unbalanced parenthesis, impossible window, a condition
            where a number is needed or the other way round. The message shows the text with a caret under the offending
            column.
    """
    return _Parser(text, where).parse()


class _Parser:
    def __init__(self, text: str, where: str | None) -> None:
        self._where = f"{where}, " if where else ""
        self._text = re.sub(r"\s", " ", text)
        self._indent = len(self._text) - len(self._text.lstrip())
        self._kinds: dict[int, str] = {}  # column of each word → number, field, name or code

    def parse(self) -> Expression:
        mask = list(self._text)
        for kind, word, column in self._checked_tokens():
            if kind != "sign":
                self._kinds[column] = kind
                mask[column : column + len(word)] = "N" * len(word)
        try:
            tree = ast.parse("".join(mask).strip(), mode="eval").body
            level: list[ast.AST] = [tree]
            for _ in range(_DEEPEST):
                level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            if level:
                self._fail(_DEEP, self._begin(level[0]), hint=_SHALLOWER)
            return self._series(None, *self._operand(tree))
        except (RecursionError, MemoryError):
            self._fail(_DEEP, self._indent, hint=_SHALLOWER)

    def _checked_tokens(self) -> Iterator[tuple[str, str, int]]:
        """Yield kind, text and column of each token; operands and signs alternate, and parentheses are closed."""
        opened: list[int] = []
        before, operand_due = "", True
        for kind, word, column in self._tokens():
            begins = word == "(" or kind not in ("sign", "end")
            if kind == "end" and not before:
                self._fail("The expression is empty.", column, expected="such as `Mean($close, 5)/$close`")
            if begins and not operand_due and (before != "name" or word != "("):
                expected = "an operator, `,` or `)`" if opened else "an operator"
                self._fail(f"`{word}` does not continue the expression.", column, expected=expected)
            if operand_due and not (begins or word in ("+", "-") or (word == ")" and before in ("(", ","))):
                what = "The expression ends too early." if kind == "end" else f"`{word}` cannot stand here."
                self._fail(what, column, expected=_OPERAND)
            if kind == "end" and opened:
                self._fail("This parenthesis is never closed.", opened[-1], expected="`)` at the end of its arguments")
            if word == ")" and not opened:
                self._fail("This parenthesis closes nothing.", column)
            if word == ")":
                opened.pop()
            elif word == "(":
                opened.append(column)
            if len(opened) > _DEEPEST:
                self._fail(_DEEP, column, hint=_SHALLOWER)
            before, operand_due = (word if kind == "sign" else kind), kind == "sign" and word != ")"
            if kind != "end":
                yield kind, word, column

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        kind, at = "", 0
        while kind != "end":
            match = _TOKEN.match(self._text, at)
            if match is None or match.lastgroup is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                hint = "`$$` (point-in-time fields) is not supported" if self._text.startswith("$$", at) else None
                self._fail(f"`{self._text[at]}` is not part of the language.", at, hint=hint)
            kind, at = match.lastgroup, match.end()
            yield kind, match[kind], match.start(kind)

    def _begin(self, node: ast.AST) -> int:
        return self._indent + int(node.col_offset)  # type: ignore[attr-defined]

    def _sign_after(self, node: ast.expr) -> tuple[str, int]:
        """Return the sign that follows an operand, and its column."""
        after = re.compile(r"[ )]*(\*\*|[<>=!]=|.)").match(self._text, self._indent + int(node.end_col_offset or 0))
        return (after[1], after.start(1)) if after else ("", 0)

    def _operand(self, node: ast.expr) -> _Operand:
        return self._value(node), self._begin(node)

    def _value(self, node: ast.expr) -> Expression:
        if isinstance(node, ast.Name):
            return self._word(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.UnaryOp):
            value = self._value(node.operand)
            if isinstance(node.op, ast.UAdd):
                return value
            return Number(-1.0 * value.value) if isinstance(value, Number) else Call("Mul", (Number(-1.0), value))
        if isinstance(node, ast.BinOp):
            return self._infix(node.left, node.right)
        if isinstance(node, ast.Compare):
            if len(node.comparators) > 1:
                column, hint = self._sign_after(node.comparators[0])[1], "put parentheses: `(a > b) & (c > d)`"
                self._fail("Comparisons cannot be chained.", column, hint=hint)
            return self._infix(node.left, node.comparators[0])
        elements = node.elts if isinstance(node, ast.Tuple) else []  # nothing else is left: `($a, $b)` or `()`
        column = self._sign_after(elements[0])[1] if elements else self._begin(node) + 1
        self._fail(f"`{self._text[column]}` cannot stand here.", column, expected=_OPERAND)

    def _word(self, node: ast.expr) -> Expression:
        column, word = self._begin(node), self._text_of(node)
        kind = self._kinds[column]
        if kind == "number":
            return Number(self._finite(float(word), column))
        if kind == "field":
            return Field(word[1:])
        if kind == "code":
            self._fail("An instrument's code stands where a series is needed.", column, hint="a field begins with `$`")
        if word in OPERATORS:
            self._fail(f"`{word}` needs arguments.", column, hint=f"write `{OPERATORS[word].usage}`")
        self._fail(f"`{word}` is neither a field nor an operator.", column, hint=f"a field is `${word}`")

    def _text_of(self, node: ast.expr) -> str:
        return self._text[self._begin(node) : self._indent + int(node.end_col_offset or 0)]

    def _call(self, node: ast.Call) -> Expression:
        column, name = self._begin(node), self._text_of(node.func)
        operator = OPERATORS.get(name)
        if operator is None:
            hint = closest(name, OPERATORS)
            self._fail(f"Unknown operator `{name}`.", column, expected=" ".join(OPERATORS), hint=hint)
        if len(node.args) != operator.arity:
            what = f"`{name}` takes {operator.arity} argument(s), not {len(node.args)}."
            self._fail(what, column, expected=operator.usage)
        series = [self._operand(argument) for argument in node.args[: operator.series]]
        trailing = zip(operator.parameters, node.args[operator.series :], strict=True)
        return self._build(operator, column, series, tuple(self._parameter(kind, operator, n) for kind, n in trailing))

    def _infix(self, left: ast.expr, right: ast.expr) -> Expression:
        sign, column = self._sign_after(left)
        a, b = self._value(left), self._value(right)
        if not (isinstance(a, Number) and isinstance(b, Number) and sign in _ARITHMETIC):
            return self._build(OPERATORS[INFIX[sign]], column, [(a, self._begin(left)), (b, self._begin(right))])
        try:
            return Number(self._finite(_ARITHMETIC[sign](a.value, b.value), column))
        except (ArithmeticError, ValueError):
            self._fail(f"{a.value:g} {sign} {b.value:g} is not a number.", column)

    def _build(
        self, operator: Operator, column: int, operands: list[_Operand], parameters: tuple[float | str, ...] = ()
    ) -> Expression:
        series = tuple(self._series(operator, *operand) for operand in operands)
        first = operands[0][1]
        if all(isinstance(s, Number) for s in series):
            self._fail(f"`{operator.name}` needs at least one series.", first, expected=operator.usage)
        if operator.name == "If" and isinstance(series[0], Number):
            self._fail("The condition of `If` is a number.", first, expected="such as `$close > $open`")
        if operator.name == "Sub" and all(map(is_condition, series)):
            self._fail("Conditions cannot be subtracted.", column, hint="`If(condition, 1, 0)` makes numbers of them")
        return Call(operator.name, series, parameters)

    def _series(self, operator: Operator | None, value: Expression, column: int) -> Expression:
        if isinstance(value, Number) and (operator is None or not operator.allows_numbers):
            what = f"`{operator.name}` needs a series, not a number." if operator else "A number is not a series."
            self._fail(what, column, expected=operator.usage if operator else "an expression that reads a field")
        if operator is not None and operator.needs_condition and not is_condition(value):
            hint = "comparisons need their own parentheses beside `&` and `|`: `($close > $open) & ($volume > 0)`"
            self._fail(f"`{operator.name}` needs a condition here.", column, hint=hint)
        return value

    def _parameter(self, kind: Parameter, operator: Operator, node: ast.expr) -> float | str:
        column, word = self._begin(node), self._text_of(node).strip("'\"")
        is_code = self._kinds.get(column) in ("name", "code") and isinstance(node, ast.Name) and word not in OPERATORS
        if kind is Parameter.INSTRUMENT and is_code and word:
            return word
        value = None if is_code else self._value(node)
        if kind is not Parameter.INSTRUMENT and isinstance(value, Number):
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
        self._fail(f"`{operator.name}` cannot use this {kind.name.lower()}.", column, expected=expected)

    def _finite(self, value: float, column: int) -> float:
        if not math.isfinite(value):
            self._fail("This number is too large.", column)
        return value

    def _fail(self, what: str, column: int, *, expected: str | None = None, hint: str | None = None) -> NoReturn:
        begin, end = max(0, column - _MARGIN), column + _MARGIN
        if len(self._text) <= _SHOWN:
            begin, end = 0, len(self._text)
        before, after = "… " if begin else "", " …" if end < len(self._text) else ""
        pointer = " " * (12 + len(before) + column - begin)  # 12: the label that `HarnessError` puts before a value
        got = f"{before}{self._text[begin:end]}{after}\n{pointer}^"
        raise ConfigError(what, where=f"{self._where}column {column + 1}", got=got, expected=expected, hint=hint)

"""Which features and which label: expressions, from templates or from YAML, checked before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from harness.data.clock import CALENDAR_FIELDS, HOLIDAY
from harness.data.panel import ALWAYS
from harness.errors import ConfigError, LookAheadError, closest
from harness.errors.limits import check_limits
from harness.features.expression import Call, Expression, Field, fields_of, look_ahead, parse
from harness.store.records import LATER

_WINDOWS = (5, 10, 20, 30, 60)
_LAGS = 60
_TINY = "1e-12"

# The shape of one bar: body, range and shadows, relative to the open and to the range.
_BAR = {
    "KMID": "($close-$open)/$open",
    "KLEN": "($high-$low)/$open",
    "KMID2": f"($close-$open)/($high-$low+{_TINY})",
    "KUP": "($high-Greater($open, $close))/$open",
    "KUP2": f"($high-Greater($open, $close))/($high-$low+{_TINY})",
    "KLOW": "(Less($open, $close)-$low)/$open",
    "KLOW2": f"(Less($open, $close)-$low)/($high-$low+{_TINY})",
    "KSFT": "(2*$close-$high-$low)/$open",
    "KSFT2": f"(2*$close-$high-$low)/($high-$low+{_TINY})",
}
_TURNOVER = "Abs($close/Ref($close, 1)-1)*$volume"


def _strength(series: str) -> tuple[str, str, str]:
    """Return the shares of rises, of falls, and their difference, in the absolute moves of a series."""
    gain = f"Sum(Greater({series}-Ref({series}, 1), 0), {{d}})"
    loss = f"Sum(Greater(Ref({series}, 1)-{series}, 0), {{d}})"
    move = f"(Sum(Abs({series}-Ref({series}, 1)), {{d}})+{_TINY})"
    return f"{gain}/{move}", f"{loss}/{move}", f"({gain}-{loss})/{move}"


_ROLLING = {
    "ROC": "Ref($close, {d})/$close",
    "MA": "Mean($close, {d})/$close",
    "STD": "Std($close, {d})/$close",
    "BETA": "Slope($close, {d})/$close",
    "RSQR": "Rsquare($close, {d})",
    "RESI": "Resi($close, {d})/$close",
    "MAX": "Max($high, {d})/$close",
    "MIN": "Min($low, {d})/$close",
    "QTLU": "Quantile($close, {d}, 0.8)/$close",
    "QTLD": "Quantile($close, {d}, 0.2)/$close",
    "RANK": "Rank($close, {d})",
    "RSV": f"($close-Min($low, {{d}}))/(Max($high, {{d}})-Min($low, {{d}})+{_TINY})",
    "IMAX": "IdxMax($high, {d})/{d}",
    "IMIN": "IdxMin($low, {d})/{d}",
    "IMXD": "(IdxMax($high, {d})-IdxMin($low, {d}))/{d}",
    "CORR": "Corr($close, Log($volume+1), {d})",
    "CORD": "Corr($close/Ref($close, 1), Log($volume/Ref($volume, 1)+1), {d})",
    "CNTP": "Mean($close>Ref($close, 1), {d})",
    "CNTN": "Mean($close<Ref($close, 1), {d})",
    "CNTD": "Mean($close>Ref($close, 1), {d})-Mean($close<Ref($close, 1), {d})",
    **dict(zip(("SUMP", "SUMN", "SUMD"), _strength("$close"), strict=True)),
    "VMA": f"Mean($volume, {{d}})/($volume+{_TINY})",
    "VSTD": f"Std($volume, {{d}})/($volume+{_TINY})",
    "WVMA": f"Std({_TURNOVER}, {{d}})/(Mean({_TURNOVER}, {{d}})+{_TINY})",
    **dict(zip(("VSUMP", "VSUMN", "VSUMD"), _strength("$volume"), strict=True)),
}
# Divisor of each raw value in Alpha360.
_SCALED = {**dict.fromkeys(("close", "open", "high", "low", "vwap"), "$close"), "volume": f"($volume+{_TINY})"}


# name → expression of the 158 factors: 9 of the bar, 4 prices, 29 over each of 5 windows.
ALPHA158: Mapping[str, str] = MappingProxyType(
    {
        **_BAR,
        **{f"{price.upper()}0": f"${price}/$close" for price in ("open", "high", "low", "vwap")},
        **{f"{name}{d}": text.format(d=d) for name, text in _ROLLING.items() for d in _WINDOWS},
    }
)
# name → expression of the 360 values: 60 periods of 6 fields, oldest first, divided by the newest.
ALPHA360: Mapping[str, str] = MappingProxyType(
    {
        f"{name.upper()}{lag}": f"Ref(${name}, {lag})/{by}" if lag else f"${name}/{by}"
        for name, by in _SCALED.items()
        for lag in range(_LAGS - 1, -1, -1)
    }
)


@dataclass(frozen=True)
class FeatureSet:
    """F features, in the order of the matrix's columns.

    Attributes:
        names, expressions: F different names and their expressions, see `harness.features.expression`.
        own: The names that a user has written himself: a panel that lacks one of their fields is refused. The others
            belong to a preset, which reads whatever a market may have; they are dropped there.
        known_ahead: Field → how many periods before its time it is known; of these, and of the fields of the calendar,
            a feature may read the future up to there. The panel must declare the same.

    Raises:
        ConfigError: When a name repeats, there is none, or an expression cannot be read.
        LookAheadError: When a feature reads the future.
    """

    names: tuple[str, ...]
    expressions: tuple[str, ...]
    own: frozenset[str] = frozenset()
    known_ahead: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.expressions):
            what = "A feature set needs at least one feature, and an expression for each name."
            got = f"{len(self.names)} name(s), {len(self.expressions)} expression(s)"
            raise ConfigError(what, where="features", got=got)
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ConfigError("Feature names must be unique.", where="features", got=", ".join(repeated))
        known = {**dict.fromkeys((*CALENDAR_FIELDS, HOLIDAY), ALWAYS), **self.known_ahead}
        for name, expression in zip(self.names, self.parsed(), strict=True):
            refuse_look_ahead(expression, known, f"features: {name}")

    def __len__(self) -> int:
        return len(self.names)

    def parsed(self) -> tuple[Expression, ...]:
        """Return the F parsed expressions."""
        return tuple(parse(text, f"features: {name}") for name, text in zip(self.names, self.expressions, strict=True))

    def asked_for(self) -> dict[str, Expression]:
        """Return where in the configuration → expression of the features that a user has written himself."""
        parsed = zip(self.names, self.parsed(), strict=True)
        return {f"features: {name}": expression for name, expression in parsed if name in self.own}


def refuse_look_ahead(expression: Expression, known_ahead: Mapping[str, int], where: str) -> None:
    """Refuse a feature that reads what is not known at its time; fields may be known so many periods before theirs."""
    ahead = look_ahead(expression, known_ahead)
    if ahead > 0:
        read = {name: lead for name, lead in known_ahead.items() if name in fields_of(expression) and lead < ALWAYS}
        leads = "".join(f"; `${name}` is known {lead} period(s) ahead" for name, lead in read.items())
        what, expected = f"Feature `{where.rpartition(': ')[2]}` reads {ahead} period(s) ahead.", "nothing later"
        hint = "a negative shift belongs into the label, or to a field that data.series.known_ahead declares"
        got, expected = str(expression), f"{expected} than its own time{leads}"
        raise LookAheadError(what, where=where, got=got, expected=expected, hint=hint)


@dataclass(frozen=True)
class _Family:
    """The features of a preset, fewer or more of them.

    Attributes:
        exclude: Names to leave out.
        add: Further features, name → expression, appended in this order.
    """

    exclude: tuple[str, ...] = ()
    add: dict[str, str] = field(default_factory=dict)
    templates: ClassVar[Mapping[str, str]]

    def feature_set(self) -> FeatureSet:
        """Return the names and expressions; raises what `FeatureSet` raises, and for unknown or doubled names."""
        family = type(self).__name__
        for name in self.exclude:
            if name not in self.templates:
                what, hint = f"{family} has no feature `{name}` to exclude.", closest(name, self.templates)
                expected = f"names such as {', '.join(list(self.templates)[:5])}"
                raise ConfigError(what, where="features.exclude", got=name, expected=expected, hint=hint)
        kept = {name: text for name, text in self.templates.items() if name not in self.exclude}
        for name in self.add:
            if name in kept:
                what, hint = f"{family} already has a feature `{name}`.", "exclude it first, or choose another name"
                raise ConfigError(what, where="features.add", got=name, hint=hint)
        features = {**kept, **self.add}
        return FeatureSet(tuple(features), tuple(features.values()), frozenset(self.add))


@dataclass(frozen=True)
class Alpha158(_Family):
    """The 158 factors of qlib's ``Alpha158`` handler, in its order."""

    templates = ALPHA158


@dataclass(frozen=True)
class Alpha360(_Family):
    """The 360 raw values of qlib's ``Alpha360`` handler, in its order: 60 periods of 5 prices and volume, scaled."""

    templates = ALPHA360


@dataclass(frozen=True)
class Expressions:
    """A user's own features.

    Attributes:
        expressions: name → expression, in the order of the columns.
        known_ahead: Field → how many periods before its time it is known, and so may be read: what the data declare.
    """

    expressions: dict[str, str]
    known_ahead: dict[str, int] | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known_ahead", self.known_ahead or None)  # nothing is recorded of nothing

    def feature_set(self) -> FeatureSet:
        """Return the names and expressions; raises what `FeatureSet` raises."""
        names, texts = tuple(self.expressions), tuple(self.expressions.values())
        return FeatureSet(names, texts, frozenset(names), self.known_ahead or {})


@dataclass(frozen=True)
class ForwardReturn:
    """The return from the next time's price to the price `horizon` times later.

    A decision at the close of t is carried out at the close of t + 1, so that a horizon of 20 is known 21 times later:
    ``Ref($close, -21)/Ref($close, -1) - 1``, qlib's label.

    Attributes:
        horizon: For how many periods (trading days of daily data) the position is held. With an own `expression` it may
            be None, or must agree with the expression's look-ahead.
        price: The field that is traded at, such as ``$close`` or ``$open``; not read when `expression` is given.
        expression: Another label, in the language of features; it must read the future.

    Raises:
        ConfigError: When the horizon is missing or below 1, disagrees with the expression, or the expression does not
            look ahead.
    """

    horizon: Annotated[int, Ge(1), Le(100_000)] | None = 20
    price: str = "$close"
    expression: str | None = None

    def __post_init__(self) -> None:
        if self.horizon is None and self.expression is None:
            raise ConfigError("A label needs a horizon or an expression.", where="label.horizon")
        check_limits(self, "label")
        ahead = self.look_ahead
        if ahead < 1:
            what, got = "The label does not look ahead, so there is nothing to predict.", self.expression_text
            expected = "an expression that reads a later time than its own"
            hint = "a negative shift reads the future: `Ref($close, -1)`"
            raise ConfigError(what, where="label.expression", got=got, expected=expected, hint=hint)
        if self.horizon is not None and ahead != self.horizon + 1:
            what, expected = "The label's horizon and its expression disagree.", f"horizon: {ahead - 1}, or null"
            got = f"horizon {self.horizon}, but `{self.expression_text}` looks {ahead} ahead"
            raise ConfigError(what, where="label", got=got, expected=expected)

    @property
    def expression_text(self) -> str:
        """The label as an expression."""
        if self.expression is not None:
            return self.expression
        entry, leave = f"Ref({self.price}, -1)", f"Ref({self.price}, -{(self.horizon or 0) + 1})"
        return f"{leave}/{entry} - 1"

    @property
    def target(self) -> tuple[str, int] | None:
        """The field and how many periods ahead its value is forecast, as in ``Ref($value, -24)``; None for others."""
        found = parse(self.expression_text)
        if not isinstance(found, Call) or found.operator != "Ref" or not isinstance(found.series[0], Field):
            return None
        return found.series[0].name, int(-float(found.parameters[0]))

    @property
    def look_ahead(self) -> int:
        """How many periods after its own time a label is known; derived from the expression, never configured."""
        return look_ahead(parse(self.expression_text))

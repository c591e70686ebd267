"""Which features: names and expressions, from templates or from YAML, checked before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import ConfigError, LookAheadError, closest
from harness.features.alpha import alpha158, alpha360
from harness.features.expression import look_ahead
from harness.features.nodes import Expression
from harness.features.parser import parse


@dataclass(frozen=True)
class FeatureSet:
    """F features, in the order of the matrix's columns.

    Attributes
    ----------
    names
        The F names, all different.
    expressions
        Their expressions, in the language of `harness.features.expression`.
    own
        The names that a user has written himself: a panel that lacks one of their fields is refused. The others belong
        to a preset, which reads whatever a market may have; they are dropped there.

    Raises
    ------
    ConfigError
        When a name repeats, there is none, or an expression cannot be read.
    LookAheadError
        When a feature reads the future.
    """

    names: tuple[str, ...]
    expressions: tuple[str, ...]
    own: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check names, expressions and their look-ahead."""
        if not self.names or len(self.names) != len(self.expressions):
            raise ConfigError(
                "A feature set needs at least one feature, and an expression for each name.",
                where="features",
                got=f"{len(self.names)} name(s), {len(self.expressions)} expression(s)",
            )
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ConfigError("Feature names must be unique.", where="features", got=", ".join(repeated))
        for name, expression in zip(self.names, self.parsed(), strict=True):
            ahead = look_ahead(expression)
            if ahead > 0:
                raise LookAheadError(
                    f"Feature `{name}` reads {ahead} period(s) ahead.",
                    where=f"features: {name}",
                    got=str(expression),
                    expected="an expression that reads nothing later than its own time",
                    hint="a negative shift belongs into the label",
                )

    def __len__(self) -> int:
        """Return F."""
        return len(self.names)

    def parsed(self) -> tuple[Expression, ...]:
        """Return the F parsed expressions."""
        return tuple(map(_parse_named, self.names, self.expressions))

    def asked_for(self) -> dict[str, Expression]:
        """Return where in the configuration → expression of the features that a user has written himself."""
        parsed = zip(self.names, self.parsed(), strict=True)
        return {f"features: {name}": expression for name, expression in parsed if name in self.own}


@dataclass(frozen=True)
class Alpha158:
    """The 158 factors of qlib's ``Alpha158`` handler, in its order.

    Attributes
    ----------
    exclude
        Names to leave out.
    add
        Further features, name → expression, appended in this order.
    """

    exclude: tuple[str, ...] = ()
    add: dict[str, str] = field(default_factory=dict)

    def feature_set(self) -> FeatureSet:
        """Return the names and expressions; raises what `FeatureSet` raises, and for unknown or doubled names."""
        return _edited("Alpha158", alpha158(), self.exclude, self.add)


@dataclass(frozen=True)
class Alpha360:
    """The 360 raw values of qlib's ``Alpha360`` handler, in its order: 60 periods of 5 prices and volume, scaled.

    Attributes
    ----------
    exclude
        Names to leave out.
    add
        Further features, name → expression, appended in this order.
    """

    exclude: tuple[str, ...] = ()
    add: dict[str, str] = field(default_factory=dict)

    def feature_set(self) -> FeatureSet:
        """Return the names and expressions; raises what `FeatureSet` raises, and for unknown or doubled names."""
        return _edited("Alpha360", alpha360(), self.exclude, self.add)


@dataclass(frozen=True)
class Expressions:
    """A user's own features.

    Attributes
    ----------
    expressions
        name → expression, in the order of the columns.
    """

    expressions: dict[str, str]

    def feature_set(self) -> FeatureSet:
        """Return the names and expressions; raises what `FeatureSet` raises."""
        return FeatureSet(tuple(self.expressions), tuple(self.expressions.values()), frozenset(self.expressions))


def _edited(family: str, templates: Mapping[str, str], exclude: tuple[str, ...], add: Mapping[str, str]) -> FeatureSet:
    for name in exclude:
        if name not in templates:
            raise ConfigError(
                f"{family} has no feature `{name}` to exclude.",
                where="features.exclude",
                got=name,
                expected=f"names such as {', '.join(list(templates)[:5])}",
                hint=closest(name, templates),
            )
    kept = {name: text for name, text in templates.items() if name not in set(exclude)}
    doubled = [name for name in add if name in kept]
    if doubled:
        raise ConfigError(
            f"{family} already has a feature `{doubled[0]}`.",
            where="features.add",
            got=doubled[0],
            hint="exclude it first, or choose another name",
        )
    features = {**kept, **add}
    return FeatureSet(tuple(features), tuple(features.values()), frozenset(add))


def _parse_named(name: str, text: str) -> Expression:
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(
            error.what,
            where=f"features: {name}, {error.where}",
            got=error.got,
            expected=error.expected,
            hint=error.hint,
        ) from error

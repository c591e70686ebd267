"""How far a metric may move before its move is a finding; and the files of `regression/` and `suites/`."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from annotated_types import Ge
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.instantiate import build_record
from harness.errors import ConfigError, closest
from harness.errors.limits import Fraction
from harness.store.files import write_atomically

NonNegative = Annotated[float, Ge(0)]
Record = TypeVar("Record")


class Tolerance:
    """How far a metric may move; the rule is the same from either side."""

    def room(self, size: float) -> float:
        """Return the largest difference that is allowed; `size` is the larger of the two absolute values."""
        return 0.0

    def allows(self, baseline: float, candidate: float) -> bool:
        """Return whether the two numbers are near enough."""
        return abs(candidate - baseline) <= self.room(max(abs(baseline), abs(candidate)))


@dataclass(frozen=True)
class Exact(Tolerance):
    """Not at all."""

    def __str__(self) -> str:
        return "exact"


@dataclass(frozen=True)
class Absolute(Tolerance):
    """By so much, in the metric's own unit.

    Attributes:
        absolute: The largest difference.
    """

    absolute: NonNegative

    def room(self, size: float) -> float:
        return self.absolute

    def __str__(self) -> str:
        return f"± {self.absolute:g}"


@dataclass(frozen=True)
class Relative(Tolerance):
    """By a share of the larger of the two, so that the rule is the same from either side.

    Attributes:
        relative: The largest difference as a share.
    """

    relative: Fraction

    def room(self, size: float) -> float:
        return self.relative * size

    def __str__(self) -> str:
        return f"± {self.relative:g} of the value"


@dataclass(frozen=True)
class Learned(Tolerance):
    """By `factor` times the spread over seeds.

    Attributes:
        learned: Standard deviation of the metric over seeds.
        factor: How many of them are allowed.
        rounding: Share of the value that is always allowed: a metric that no seed moves still rounds differently
            elsewhere. Too small to let a count pass.
    """

    learned: NonNegative
    factor: NonNegative
    rounding: NonNegative = 1e-9

    def room(self, size: float) -> float:
        return self.factor * self.learned + self.rounding * size

    def __str__(self) -> str:
        return f"± {self.factor * self.learned:.3g} (learned: {self.factor:.3g} × {self.learned:.3g})"


Rule = Literal["exact"] | Absolute | Relative | Learned


@dataclass(frozen=True)
class Tolerances:
    """How far metrics may move between environments.

    Attributes:
        significance: A difference beyond its tolerance whose paired test gives a larger p-value is inconclusive.
        metrics: Pattern → rule; the first pattern that matches a metric's path (`per_window.3.IC`) or a part of it
            (`IC`) holds.
        default: The rule of every other metric.
    """

    default: Rule
    metrics: dict[str, Rule] = field(default_factory=dict)
    significance: Fraction = 0.05

    @property
    def demand_equal_bits(self) -> bool:
        """Whether nothing may move anywhere, digests and intervals included."""
        return {"exact"}.issuperset((self.default, *self.metrics.values()))

    def of(self, path: str) -> Tolerance:
        """Return the rule of the metric at `path`."""
        texts = (path, *path.split("."))
        rules = self.metrics.items()
        fitting = (rule for name, rule in rules if any(fnmatch.fnmatchcase(text, name) for text in texts))
        rule = next(fitting, self.default)
        return Exact() if rule == "exact" else rule


@dataclass(frozen=True)
class Case:
    """One experiment of a suite.

    Attributes:
        case: Its name, once in the suite.
        overrides: Hydra overrides that compose it, after those of the suite.
        needs: Files and folders without which it is skipped, and says so.
        each: Axis → choice → overrides: one case for every combination, named after its choices
            (``load-linear-gf_exp``). A choice without a name, ``""``, adds its overrides and nothing to the name.
    """

    case: str
    overrides: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    each: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def expanded(self, where: str = "") -> Iterator[Case]:
        """Yield the cases of all combinations, the last axis first; itself when there is no axis.

        `where` it stands is for messages.
        """
        for axis, choices in self.each.items():
            if not choices:
                place = f"{where}.each.{axis}".lstrip(".")
                raise ConfigError("An axis has choices.", where=place, got="none", expected="NAME: [OVERRIDE, …]")
        for chosen in product(*(choices.items() for choices in self.each.values())):
            name = "-".join((self.case, *(name for name, _ in chosen if name)))
            yield Case(name, (*self.overrides, *chain.from_iterable(added for _, added in chosen)), self.needs)


@dataclass(frozen=True)
class SuiteFile:
    """A named list of experiments that `bench check`, `bless` and `nightly` run.

    Attributes:
        regression: The tolerances that they are held to: a file of `regression/`.
        overrides: Hydra overrides of every case.
        cases: The experiments, in the order in which they run.
    """

    regression: str
    cases: tuple[Case, ...]
    overrides: tuple[str, ...] = ()


def read_yaml(path: Path, group: Literal["regression", "suites", "reference"]) -> object:
    """Return what a file of `regression/`, `suites/` or `reference/` holds."""
    what = {"suites": "suite", "regression": "file of tolerances", "reference": "published table"}[group]
    return yaml_of(path, what, f"`bench config --schema {group}` says what it may hold", resolve=True)


def yaml_of(path: Path, what: str = "configuration file", hint: str | None = None, *, resolve: bool = False) -> object:
    """Return what a YAML file holds; `what` it is and a `hint` are for messages, references may be resolved."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=resolve)
    except FileNotFoundError as error:
        names = sorted(p.stem for p in path.parent.glob("*.yaml"))
        text, known, near = f"There is no such {what}.", ", ".join(names) or None, closest(path.stem, names)
        raise ConfigError(text, where=str(path), got=path.stem, expected=known, hint=near) from error
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        text, got, expected = f"The {what} cannot be read.", " ".join(str(error).split()), "KEY: VALUE lines in YAML"
        raise ConfigError(text, where=str(path), got=got, expected=expected, hint=hint) from error


def record_from(kind: type[Record], node: object, where: str) -> Record:
    """Return a record of plain data, every key checked as in a configuration; `where` it stands goes before the key."""
    if not isinstance(node, Mapping):
        keys = ", ".join(vars(kind)["__dataclass_fields__"])
        raise ConfigError("This must be a mapping.", where=where, got=repr(node), expected=keys)
    try:
        made: Any = build_record(kind, {str(key): value for key, value in node.items()}, "")
    except ConfigError as error:
        error.where = f"{where}: {error.where}" if error.where else where
        raise
    return made  # type: ignore[no-any-return]


def load_tolerances(path: Path) -> Tolerances:
    """Read the tolerances of a YAML file."""
    return parse_tolerances(read_yaml(path, "regression"), str(path))


def parse_tolerances(node: object, where: str = "tolerances") -> Tolerances:
    """Return the tolerances of plain data."""
    return record_from(Tolerances, node, where)


def write_tolerances(tolerances: Tolerances, path: Path | str, *, comment: str = "") -> None:
    """Write tolerances as YAML that `load_tolerances` reads back equal, below a comment; a file there is replaced."""
    rules = {name: rule if rule == "exact" else vars(rule) for name, rule in tolerances.metrics.items()}
    default = tolerances.default if tolerances.default == "exact" else vars(tolerances.default)
    content = {"significance": tolerances.significance, "metrics": rules, "default": default}
    lines = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    text = lines + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)
    write_atomically(Path(path), text.encode())

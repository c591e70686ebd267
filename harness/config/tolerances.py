"""How far a metric may move before its move is a finding."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from harness.errors import ConfigError, closest
from harness.store.files import write_atomically

_KINDS = "exact, {absolute: NUMBER}, {relative: NUMBER} or {learned: SPREAD, factor: NUMBER}"
_SIGNIFICANCE = 0.05


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

    absolute: float

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

    relative: float

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

    learned: float
    factor: float
    rounding: float = 1e-9

    def room(self, size: float) -> float:
        return self.factor * self.learned + self.rounding * size

    def __str__(self) -> str:
        return f"± {self.factor * self.learned:.3g} (learned: {self.factor:.3g} × {self.learned:.3g})"


@dataclass(frozen=True)
class Tolerances:
    """The rule of every metric.

    Attributes:
        rules: (pattern, tolerance) in order: the first whose shell-style pattern matches the metric's path
            (``per_window.3.IC``) or one part of it (``IC``) holds.
        default: The rule of a metric that no pattern matches.
        significance: A difference beyond the tolerance whose paired test gives a larger p-value is inconclusive.
    """

    rules: tuple[tuple[str, Tolerance], ...] = ()
    default: Tolerance = Exact()
    significance: float = _SIGNIFICANCE

    def of(self, path: str) -> Tolerance:
        """Return the rule of the metric at `path`."""
        texts = (path, *path.split("."))
        for pattern, tolerance in self.rules:
            if any(fnmatch.fnmatchcase(text, pattern) for text in texts):
                return tolerance
        return self.default


def load_tolerances(path: Path) -> Tolerances:
    """Read the tolerances of a YAML file.

    Raises:
        ConfigError: When there is no such file, or it holds an unknown key or an impossible number.
    """
    try:
        node = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except FileNotFoundError as error:
        names = sorted(p.stem for p in path.parent.glob("*.yaml"))
        expected, hint = ", ".join(names) or None, closest(path.stem, names)
        raise ConfigError("There are no such tolerances.", where=str(path), expected=expected, hint=hint) from error
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        got, expected = " ".join(str(error).split()), "YAML with significance, metrics and default"
        raise ConfigError("The tolerances cannot be read.", where=str(path), got=got, expected=expected) from error
    return parse_tolerances(node, str(path))


def parse_tolerances(node: object, where: str = "tolerances") -> Tolerances:
    """Return the tolerances of plain data: ``metrics`` (pattern → rule), ``default``, ``significance``.

    Raises:
        ConfigError: For an unknown key or an impossible number.
    """
    known = ("metrics", "default", "significance")
    if not isinstance(node, Mapping) or not isinstance(node.get("metrics", {}), Mapping):
        raise ConfigError("Tolerances are a mapping.", where=where, got=repr(node), expected=", ".join(known))
    for key in node:
        if key not in known:
            hint = closest(str(key), known)
            raise ConfigError("Unknown key.", where=where, got=key, expected=", ".join(known), hint=hint)
    if "default" not in node:
        raise ConfigError("The tolerances lack a default.", where=f"{where}: default", expected=_KINDS)
    rules = tuple((str(k), _tolerance(v, f"{where}: {k}")) for k, v in node.get("metrics", {}).items())
    significance = _number(node.get("significance", _SIGNIFICANCE), f"{where}: significance", most=1.0)
    return Tolerances(rules, _tolerance(node["default"], f"{where}: default"), significance)


def _tolerance(node: object, where: str) -> Tolerance:
    if node == "exact":
        return Exact()
    if isinstance(node, Mapping):
        keys = set(node)
        if keys == {"absolute"}:
            return Absolute(_number(node["absolute"], where))
        if keys == {"relative"}:
            return Relative(_number(node["relative"], where, most=1.0))
        if {"learned", "factor"} <= keys <= {"learned", "factor", "rounding"}:
            return Learned(**{str(k): _number(v, where) for k, v in node.items()})
    raise ConfigError("This is not a tolerance.", where=where, got=repr(node), expected=_KINDS)


def _number(value: object, where: str, most: float = math.inf) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= most:
        return float(value)
    limits = "a number ≥ 0" if most == math.inf else f"a number from 0 to {most:g}"
    raise ConfigError("Impossible number.", where=where, got=repr(value), expected=limits)


def write_tolerances(tolerances: Tolerances, path: Path | str, *, comment: str = "") -> None:
    """Write tolerances as YAML that `load_tolerances` reads back equal.

    Args:
        tolerances: What to write.
        path: The file; replaced when it is there.
        comment: Where they come from; stands above them.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines.append(f"significance: {tolerances.significance!r}")
    lines.append("metrics:" if tolerances.rules else "metrics: {}")
    lines += [f"  {json.dumps(pattern)}: {_yaml(tolerance)}" for pattern, tolerance in tolerances.rules]
    lines.append(f"default: {_yaml(tolerances.default)}")
    write_atomically(Path(path), ("\n".join(lines) + "\n").encode())


def _yaml(tolerance: Tolerance) -> str:
    if isinstance(tolerance, Exact):
        return "exact"
    return "{" + ", ".join(f"{name}: {value!r}" for name, value in vars(tolerance).items()) + "}"


Rule = Literal["exact"] | Absolute | Relative | Learned


@dataclass(frozen=True)
class CaseFile:
    """One experiment of a suite.

    Attributes:
        case: Its name, once in the suite.
        overrides: Hydra overrides that compose it, after those of the suite.
        needs: Files and folders without which it is skipped, and says so.
    """

    case: str
    overrides: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SuiteFile:
    """A named list of experiments that `bench check`, `bless` and `nightly` run.

    Attributes:
        regression: The tolerances that they are held to: a file of `regression/`.
        overrides: Hydra overrides of every case.
        cases: The experiments, in the order in which they run.
    """

    regression: str
    cases: tuple[CaseFile, ...]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class TolerancesFile:
    """How far metrics may move between environments.

    Attributes:
        significance: A difference beyond its tolerance whose paired test gives a larger p-value is inconclusive.
        metrics: Pattern → rule; the first pattern that matches a metric's path (`per_window.3.IC`) or a part of it
            (`IC`) holds.
        default: The rule of every other metric.
    """

    default: Rule
    metrics: dict[str, Rule] = field(default_factory=dict)
    significance: float = 0.05

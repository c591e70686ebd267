"""What is configured, typed and checked."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.instantiate import build_record
from harness.data.dates import configured_span
from harness.data.source import Source
from harness.errors import ConfigError
from harness.errors.limits import Count, Fraction, Natural, Seed, check_limits
from harness.evaluation.errors import ErrorEvaluation
from harness.evaluation.metrics import Metric, SignalEvaluation, check_extra
from harness.evaluation.portfolio.strategy import Rules, Strategy
from harness.evaluation.portfolio.topk_dropout import TopkDropout
from harness.evaluation.significance.bootstrap import Bootstrap
from harness.execution.progress import Observer
from harness.execution.task import Executor
from harness.features.feature_set import FeatureSet, ForwardReturn
from harness.samples.interfaces import Adaptation, Model, Preprocess
from harness.samples.windows import Kind
from harness.store.records import LATER, join_key, walk

# As they may be given; kept as ISO text, or None for an open end.
Dates = tuple[str | int | None, str | int | None]
AuditLevel = Literal["none", "static", "sampled", "full"]


class FeatureConfig(typing.Protocol):
    """Anything that names features and their expressions."""

    def feature_set(self) -> FeatureSet:
        """Return the features; refuses one that looks ahead."""


class Tracking(typing.Protocol):
    """Where finished runs are also sent."""

    def check(self) -> None:
        """Refuse to begin when nothing could be sent."""

    def send(self, folders: Sequence[Path], runs: Path, observer: Observer) -> None:
        """Send the folders of runs and sweeps; a failure is a notice."""


@dataclass(frozen=True)
class WindowsConfig:
    """The walk-forward schedule, in dates.

    Attributes:
        kind: ``expanding`` keeps the start of the train segment, ``sliding`` moves it along.
        step: Periods (trading days of daily data) per test segment, ≥ 1: the model is fitted again every `step` of
            them.
        train, valid: First and last date of the segment in the first window, as `harness.data.dates` reads them: a date
            without a time is its whole day, month or year, null an open end. None: `split` cuts the calendar. Without
            `valid` beside given dates there is no validation segment.
        test: First and last date of the whole test range; None: `split` cuts the calendar.
        split: Shares of the calendar for train, valid and test where no dates are given, at most 1 together; valid may
            be 0.
        embargo: Periods left out at every border beyond the purge, ≥ 0; the purge itself follows from the label.
        purge_valid: Purge between train and valid too.
        include_valid: Whether a model that stops nothing early, and does not say by an `include_valid` of its own,
            learns from valid too: from everything known at the decision. qlib's rule is false.
        memory: Periods before each decision beyond which nothing is learned from, such as 8760 hours; None: all.
    """

    kind: Kind
    step: Count
    train: Dates | None
    valid: Dates | None
    test: Dates | None
    split: tuple[Fraction, Fraction, Fraction]
    embargo: Natural
    purge_valid: bool
    include_valid: bool = field(default=True, metadata=LATER)
    memory: Count | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            dates = getattr(self, name)
            if dates is not None:
                object.__setattr__(self, name, configured_span(dates, name))
        check_limits(self, "windows")
        if min(self.split) < 0 or min(self.split[0], self.split[2]) <= 0 or sum(self.split) > 1 + 1e-9:
            what = "The shares of train, valid and test must be positive and add up to at most 1."
            expected = "such as [0.5, 0.2, 0.3]; valid may be 0"
            raise ConfigError(what, where="split", got=list(self.split), expected=expected)
        given = [self.train is not None, self.test is not None]
        if any(given) != all(given) or (self.valid is not None and not all(given)):
            what = "Train and test must both be given as dates, or neither."
            got = f"train={self.train}, valid={self.valid}, test={self.test}"
            expected = "windows.train=[FIRST,LAST] windows.test=[FIRST,LAST], and windows.valid if it is wanted"
            hint = "leave all three null to cut the calendar by windows.split"
            raise ConfigError(what, where="train", got=got, expected=expected, hint=hint)


@dataclass(frozen=True)
class SamplesConfig:
    """Which (time, instrument) pairs are rows.

    Attributes:
        rows: ``traded``: in the universe, with a price. ``listed``: suspended ones too, from the first to the last
            price, as in qlib; such a row knows that trading will resume.
    """

    rows: Literal["traded", "listed"]


@dataclass(frozen=True)
class EvaluationConfig:
    """How predictions are judged, and how sure the metrics are; without `significance` they have no intervals.

    Attributes:
        signal: How the signal is judged; None: no metrics across instruments, which sets of series have not.
        errors: How forecasts of series are judged by their errors; None: not.
        portfolio: The strategy whose portfolio is judged, top-k dropout without a `_target_`; None: the signal alone.
        significance: How intervals are made; None: no intervals.
        extra: The user's metrics, see `harness.evaluation.metrics.Metric`.
        rules: ``harness``, or ``qlib`` for comparison: its 238 days a year, and its rules of the portfolio.
    """

    signal: SignalEvaluation | None
    portfolio: TopkDropout | Strategy | None
    significance: Bootstrap | None = None
    extra: tuple[Metric, ...] = field(default=(), metadata=LATER)
    errors: ErrorEvaluation | None = field(default=None, metadata=LATER)
    rules: Rules = "harness"

    def __post_init__(self) -> None:
        check_extra(self.extra)

    @property
    def periods_per_year(self) -> int | None:
        """The configured periods in a year; None: by the calendar."""
        return None if self.signal is None else self.signal.periods_per_year


@dataclass(frozen=True)
class OutputConfig:
    """Where files go; never changes a number.

    Attributes:
        runs: Folder of the results: one folder per run, and one per sweep.
        store: Folder of intermediate results that later runs use again; `bench cache` looks after it.
    """

    runs: str
    store: str


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment, complete and checked.

    Attributes:
        suite: The suite that the snapshot belongs to.
        case: Its case; None: named after data, model, adaptation, horizon and step.
        seed: For whatever is random.
        data: Where prices come from.
        features, label: What is learned from, and what is forecast, as expressions.
        samples: Which pairs of time and instrument are rows.
        windows: The walk-forward schedule.
        preprocess: What is done to features and label before learning.
        model: What is fitted in every window.
        adaptation: How much each part of the past counts.
        evaluation: How predictions are judged.
        output: Where files go; never changes a number.
        executor: Where it is computed; never changes a number.
        tracking: Where finished runs are also sent; never changes a number.
        choices: The choice of every group.
        command: What `bench run` was given to compose it; recorded, changes nothing.
        audit: Whether the run is audited on the way; never changes a number.
        composed: The composed tree as JSON, from which `rebuild` makes the same configuration in another process.
    """

    suite: str
    case: str | None
    seed: Seed
    data: Source
    features: FeatureConfig
    label: ForwardReturn
    samples: SamplesConfig
    windows: WindowsConfig
    preprocess: Preprocess
    model: Model
    adaptation: Adaptation
    evaluation: EvaluationConfig
    output: OutputConfig
    executor: Executor
    tracking: Tracking
    choices: Mapping[str, str]
    command: tuple[str, ...] = ()
    audit: AuditLevel = "none"
    composed: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        for key, name in (("suite", self.suite), ("case", self.case)):
            if name is not None and (not name or name.startswith(".") or re.search(r"[/\\\0]", name)):
                what, hint = f"The {key} is the name of a folder.", "output.runs=FOLDER says where runs go"
                raise ConfigError(what, where=key, got=name, expected="letters, digits, _ and -, no path", hint=hint)

    @property
    def case_name(self) -> str:
        """The given case, or one made of the choices: data.model.adaptation.hHORIZON.sSTEP; it names a folder."""
        if self.case is not None:
            return self.case
        parts = [self.choices[group].replace("/", ".") for group in ("data", "model", "adaptation")]
        horizon = self.label.look_ahead - 1 if self.label.target is None else self.label.look_ahead
        return ".".join([*parts, f"h{horizon}", f"s{self.windows.step}"])


def parse(composed: DictConfig) -> ExperimentConfig:
    """Turn a composed configuration into objects."""
    try:
        missing = sorted(OmegaConf.missing_keys(composed))
        tree = None if missing else OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:  # a reference that leads nowhere
        what, got = "A reference in the configuration cannot be resolved.", str(error).strip().splitlines()[0]
        expected = "${KEY} of a key that exists, or ${oc.env:NAME} of a variable that is set"
        raise ConfigError(what, where=error.full_key or None, got=got, expected=expected) from error
    if missing:
        what = f"Mandatory key{'s' if len(missing) > 1 else ''} without a value: {', '.join(missing)}."
        hint = f"add {missing[0]}=VALUE to the command"
        raise ConfigError(what, where=missing[0], got="???", expected="a value for it", hint=hint)
    if not isinstance(tree, dict):
        raise ConfigError("The configuration must be a mapping.", got=type(tree).__name__)
    tree.pop("hydra", None)
    _refuse_no_json(tree)
    return _built({str(k): v for k, v in tree.items()})


def _refuse_no_json(tree: object) -> None:
    """Refuse values and names that YAML has and JSON has not, such as bytes."""
    for path, node in walk(tree):
        names = [name for name in node if not isinstance(name, str | int | float)] if isinstance(node, Mapping) else []
        if names or not isinstance(node, str | int | float | None | Mapping | list):
            wrong, key = (names[0], join_key(path, str(names[0]))) if names else (node, path)
            what, got = "This kind of value has no place in a configuration.", f"{type(wrong).__name__} {wrong!r}"
            expected = "a number, a text, a truth value, null, or lists and mappings of these"
            raise ConfigError(what, where=key, got=got, expected=expected)


def rebuild(composed: str) -> ExperimentConfig:
    """Return the configuration whose `ExperimentConfig.composed` is given, without composing it again."""
    return _built(json.loads(composed))


def _built(tree: dict[str, object]) -> ExperimentConfig:
    composed = json.dumps(tree, ensure_ascii=False)
    return typing.cast("ExperimentConfig", build_record(ExperimentConfig, {**tree, "composed": composed}, ""))

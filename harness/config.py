"""Configuration: Hydra composes it, this module turns it into typed, checked objects; a DictConfig ends here."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.data.source import Source
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.evaluation import Metric, SignalEvaluation, check_extra
from harness.execution import Executor
from harness.features.feature_set import FeatureSet
from harness.features.label import ForwardReturn
from harness.instantiate import LATER, build_record, join_key
from harness.interfaces import Adaptation, Model, Observer, Preprocess
from harness.portfolio import TopkDropout
from harness.significance import Bootstrap
from harness.windows import Kind

__all__ = [
    "EvaluationConfig",
    "ExperimentConfig",
    "OutputConfig",
    "SamplesConfig",
    "Tracking",
    "WindowsConfig",
    "compose_config",
    "composed_yaml",
    "config_folder",
    "known_keys",
    "parse",
    "rebuild",
    "unreadable",
]


AuditLevel = Literal["none", "static", "sampled", "full"]


class FeatureConfig(typing.Protocol):
    """Anything that names features and their expressions."""

    def feature_set(self) -> FeatureSet:
        """Return the features; refuses one that looks ahead."""
        ...


class Tracking(typing.Protocol):
    """Where finished runs are also sent."""

    def check(self) -> None:
        """Refuse to begin when nothing could be sent."""
        ...

    def send(self, folders: Sequence[Path], runs: Path, observer: Observer) -> None:
        """Send the folders of runs and sweeps; a failure is a notice."""
        ...


@dataclass(frozen=True)
class WindowsConfig:
    """The walk-forward schedule, in dates.

    Attributes
    ----------
    kind
        ``expanding`` keeps the start of the train segment, ``sliding`` moves it along.
    step
        Times per test segment, ≥ 1: the model is fitted again every `step` times.
    train, valid
        First and last date of the segment in the first window; None: `split` cuts the calendar. Without `valid` beside
        given dates there is no validation segment.
    test
        First and last date of the whole test range; None: `split` cuts the calendar.
    split
        Shares of the calendar for train, valid and test where no dates are given, at most 1 together; valid may be 0.
    embargo
        Times left out at every border beyond the purge, ≥ 0; the purge itself follows from the label.
    purge_valid
        Purge between train and valid too.
    """

    kind: Kind
    step: int
    train: tuple[str, str] | None
    valid: tuple[str, str] | None
    test: tuple[str, str] | None
    split: tuple[float, float, float]
    embargo: int
    purge_valid: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be walked."""
        if self.step < 1:
            raise ConfigError("The step must be positive.", where="step", got=self.step, expected="a whole number ≥ 1")
        if self.embargo < 0:
            raise ConfigError(
                "A negative embargo would undo the purge.", where="embargo", got=self.embargo, expected="≥ 0"
            )
        if min(self.split) < 0 or min(self.split[0], self.split[2]) <= 0 or sum(self.split) > 1 + 1e-9:
            raise ConfigError(
                "The shares of train, valid and test must be positive and add up to at most 1.",
                where="split",
                got=list(self.split),
                expected="such as [0.5, 0.2, 0.3]; valid may be 0",
            )
        given = [self.train is not None, self.test is not None]
        if any(given) != all(given) or (self.valid is not None and not all(given)):
            raise ConfigError(
                "Train and test must both be given as dates, or neither.",
                where="train",
                got=f"train={self.train}, valid={self.valid}, test={self.test}",
                expected="windows.train=[FIRST,LAST] windows.test=[FIRST,LAST], and windows.valid if it is wanted",
                hint="leave all three null to cut the calendar by windows.split",
            )


@dataclass(frozen=True)
class SamplesConfig:
    """Which (time, instrument) pairs are rows.

    Attributes
    ----------
    rows
        ``traded``: in the universe, with a price. ``listed``: suspended ones too, from the first to the last price, as
        in qlib; such a row knows that trading will resume.
    """

    rows: Literal["traded", "listed"]


@dataclass(frozen=True)
class EvaluationConfig:
    """How predictions are judged, and how sure the metrics are; without `significance` they have no intervals.

    Attributes
    ----------
    signal
        How the signal is judged.
    portfolio
        The strategy whose portfolio is judged; None: the signal alone.
    significance
        How intervals are made; None: no intervals.
    extra
        Metrics of one's own, see `harness.evaluation.Metric`.
    """

    signal: SignalEvaluation
    portfolio: TopkDropout | None
    significance: Bootstrap | None = None
    extra: tuple[Metric, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        """Refuse what is no metric."""
        check_extra(self.extra)


@dataclass(frozen=True)
class OutputConfig:
    """Where files go; never changes a number.

    Attributes
    ----------
    runs
        Folder of the results: one folder per run, and one per sweep.
    store
        Folder of intermediate results that later runs use again; `bench cache` looks after it.
    """

    runs: str
    store: str


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment, complete and checked.

    Attributes
    ----------
    suite
        The suite that the snapshot belongs to.
    case
        Its case; None: named after data, model, adaptation, horizon and step.
    seed
        For whatever is random.
    data
        Where prices come from.
    features, label
        What is learned from, and what is forecast, as expressions.
    samples
        Which pairs of time and instrument are rows.
    windows
        The walk-forward schedule.
    preprocess
        What is done to features and label before learning.
    model
        What is fitted in every window.
    adaptation
        How much each part of the past counts.
    evaluation
        How predictions are judged.
    output
        Where files go; never changes a number.
    executor
        Where it is computed; never changes a number.
    tracking
        Where finished runs are also sent; never changes a number.
    choices
        The choice of every group.
    command
        What `bench run` was given to compose it; recorded, changes nothing.
    audit
        Whether the run is audited on the way; never changes a number.
    composed
        The composed tree as JSON, from which `rebuild` makes the same configuration in another process.
    """

    suite: str
    case: str | None
    seed: int
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

    @property
    def case_name(self) -> str:
        """The given case, or one made of the choices: data.model.adaptation.hHORIZON.sSTEP."""
        if self.case is not None:
            return self.case
        parts = [self.choices[group] for group in ("data", "model", "adaptation")]
        horizon = self.label.look_ahead - 1
        return ".".join([*parts, f"h{horizon}", f"s{self.windows.step}"])


def config_folder() -> Path:
    """Return the folder of the configuration tree: in the wheel inside the package, in a checkout beside it."""
    here = Path(__file__).resolve().parent
    inside = here / "conf"
    return inside if inside.is_dir() else here.parent / "conf"


def compose_config(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> ExperimentConfig:
    """Compose the configuration tree with Hydra overrides and return it typed and checked.

    Parameters
    ----------
    overrides
        Hydra override texts, such as ``windows.step=40`` or ``model=lightgbm``.
    search_path
        Folders outside this project that hold further configuration groups.

    Raises
    ------
    ConfigError
        Names the key, the value and what would be accepted.
    """
    composed = _compose(list(overrides), [Path(p).resolve() for p in search_path])
    folders = [argument for folder in search_path for argument in ("--config-dir", str(folder))]
    composed["command"] = [*folders, *overrides]
    return parse(composed)


def composed_yaml(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> str:
    """Return the composed configuration as YAML, references resolved; what `compose_config` would read."""
    composed = _compose(list(overrides), [Path(p).resolve() for p in search_path])
    del composed["choices"]
    return OmegaConf.to_yaml(composed, resolve=True)


def parse(composed: DictConfig) -> ExperimentConfig:
    """Turn a composed configuration into objects."""
    try:
        missing = sorted(OmegaConf.missing_keys(composed))
    except OmegaConfBaseException as error:
        raise _unresolved(error) from error
    if missing:
        raise ConfigError(
            f"Mandatory key{'s' if len(missing) > 1 else ''} without a value: {', '.join(missing)}.",
            where=missing[0],
            got="???",
            expected="a value for it",
            hint=f"add {missing[0]}=VALUE to the command",
        )
    try:
        tree = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise _unresolved(error) from error
    if not isinstance(tree, dict):
        raise ConfigError("The configuration must be a mapping.", got=type(tree).__name__)
    tree.pop("hydra", None)
    return _built({str(k): v for k, v in tree.items()})


def rebuild(composed: str) -> ExperimentConfig:
    """Return the configuration whose `ExperimentConfig.composed` is given, without composing it again."""
    return _built(json.loads(composed))


def _built(tree: dict[str, object]) -> ExperimentConfig:
    composed = json.dumps(tree, ensure_ascii=False)
    return typing.cast("ExperimentConfig", build_record(ExperimentConfig, {**tree, "composed": composed}, ""))


def _compose(overrides: list[str], search_path: list[Path]) -> DictConfig:
    for folder in search_path:
        if not folder.is_dir():
            raise ConfigError(
                "The configuration folder does not exist.",
                where="--config-dir",
                got=str(folder),
                expected="a folder with groups like conf/, such as FOLDER/model/mine.yaml",
                hint="`bench new model mine` writes one",
            )
    extra = [f"hydra.searchpath=[{','.join(f'file://{p}' for p in search_path)}]"] if search_path else []
    try:
        with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
            composed = compose("config", overrides=[*extra, *overrides], return_hydra_config=True)
            choices = {k: str(v) for k, v in composed.hydra.runtime.choices.items() if "/" not in k}
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides) from error
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(error) from error
    OmegaConf.set_readonly(composed, False)
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    composed["choices"] = choices
    return composed


def _no_yaml(error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark
    return ConfigError(
        "A configuration file is not YAML.",
        where="a configuration file" if mark is None else f"{mark.name}, line {mark.line + 1}",
        got=error.problem,
        expected="KEY: VALUE lines, nested by spaces",
    )


def _explain(error: Exception, overrides: Sequence[str]) -> ConfigError:
    text = str(error)
    cause = str(error.__cause__ or "")
    group = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if group:
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE) or _options(group[1])
        return ConfigError(
            f"There is no `{group[2]}` in the group `{group[1]}`.",
            where=group[1],
            got=group[2],
            expected=", ".join(options),
            hint=closest(group[2], options),
        )
    if text.startswith("In '"):
        return ConfigError(
            "A configuration file cannot be composed.",
            where=text.split("'")[1],
            got=_first_line(error),
            expected="a defaults list of groups and choices that exist",
        )
    key = re.search(r"Key '([^']+)' is not in struct", cause) or re.search(r"Could not override '([^']+)'", text)
    if key or "Could not" in text:
        full = re.search(r"full_key: (\S+)", cause)
        name = full[1] if full else (re.search(r"'([^']+)'", text) or ["", ""])[1]
        known = known_keys()
        siblings = [k for k in known if k.rpartition(".")[0] == name.rpartition(".")[0]]
        near = closest(name, siblings) or closest(name, known)
        given = next((o for o in overrides if o.lstrip("+~").startswith(name)), name)
        return UnknownKeyError(
            f"There is no configuration key `{name}`.",
            where=name,
            got=given,
            expected=", ".join(siblings) or None,
            hint=near or "`bench config --describe` prints every key",
        )
    return unreadable(overrides, error)


def unreadable(overrides: Sequence[str], error: Exception) -> ConfigError:
    """Return the error for overrides that Hydra cannot read; names the first one that it cannot."""
    return ConfigError(
        "The command's overrides cannot be read.",
        where=next((text for text in overrides if not _is_readable(text)), " ".join(overrides)),
        got=_first_line(error),
        expected="KEY=VALUE, GROUP=CHOICE, +NEW_KEY=VALUE or ~KEY; quote what the shell or Hydra would take apart",
        hint="see `bench run --help`",
    )


def _is_readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _unresolved(error: OmegaConfBaseException) -> ConfigError:
    return ConfigError(
        "A reference in the configuration cannot be resolved.",
        where=error.full_key or None,
        got=_first_line(error),
        expected="${KEY} of a key that exists, or ${oc.env:NAME} of a variable that is set",
    )


def _options(group: str) -> list[str]:
    return sorted(p.stem for p in (config_folder() / group).glob("*.yaml"))


def known_keys() -> list[str]:
    """Return every dotted key of the main configuration, sorted."""
    with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
        tree = OmegaConf.to_container(compose("config"), resolve=False)
    return sorted(_flatten(tree, ""))


def _flatten(node: object, path: str) -> list[str]:
    if not isinstance(node, Mapping):
        return []
    found = []
    for key, value in node.items():
        name = join_key(path, str(key))
        found += [name, *_flatten(value, name)]
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]

"""One experiment file out of one workflow file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from harness.config import compose_config
from harness.errors import ConfigError, closest
from harness.integrations.qlib_workflow.workflow import Node, portfolio_of

# qlib's class → our choice, and keyword → key.
_MODELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "LinearModel": ("linear", {k: k for k in ("estimator", "alpha", "fit_intercept", "include_valid")}),
    "LGBModel": (
        "lightgbm",
        {
            **{k: k for k in ("loss", "learning_rate", "num_leaves", "max_depth", "colsample_bytree", "subsample")},
            **{k: k for k in ("lambda_l1", "lambda_l2", "num_boost_round", "early_stopping_rounds", "seed")},
            "num_threads": "threads",
        },
    ),
    "XGBModel": (
        "xgboost",
        {
            **{
                k: k for k in ("max_depth", "colsample_bytree", "subsample", "num_boost_round", "early_stopping_rounds")
            },
            **{"eta": "learning_rate", "learning_rate": "learning_rate", "nthread": "threads", "seed": "seed"},
        },
    ),
    "CatBoostModel": (
        "catboost",
        {
            **{k: k for k in ("learning_rate", "max_depth", "num_leaves", "grow_policy", "subsample")},
            **{k: k for k in ("num_boost_round", "early_stopping_rounds", "seed")},
            "thread_count": "threads",
        },
    ),
    "DNNModelPytorch": ("mlp", {k: k for k in ("loss", "lr", "optimizer", "batch_size", "weight_decay", "seed")}),
}
_DROPPED: Mapping[str, str] = {
    "eval_metric": "our models stop early on their own loss",
    "n_estimators": "the training call that qlib uses ignores it",
    "bootstrap_type": "CatBoost has Poisson on GPUs only; ours is Bernoulli",
    "loss": "ours is the squared error",
    "GPU": "model.device says where it is trained",
    "input_dim": "the width follows from the features",
    "output_dim": "there is one forecast",
    "max_steps": "there it counts batches; model.max_epochs counts passes over the rows",
    "early_stop_rounds": "there it counts evaluations; model.early_stopping_rounds counts passes over the rows",
    "lr_decay": "our learning rate is constant",
    "lr_decay_steps": "our learning rate is constant",
}
_UNLIKE = {"DropnaProcessor": "rows with missing features are learned from here: put Fillna or CSZFillna before"}
_HAS_EXTRA = ("lightgbm", "xgboost", "catboost")
_PLAIN = (
    *("CSRankNorm", "CSZFillna", "ProcessInf", "TanhProcess", "DropnaLabel", "ZScoreNorm", "MinMaxNorm"),
    *("CSZScoreNorm", "Fillna", "RobustZScoreNorm", "DropCol", "FilterCol"),
)
_OF_LABELS = ("DropnaLabel",)


def model_of(task: Node, notes: list[str]) -> tuple[str, dict[str, Any]]:
    """Return our choice of model and its keys.

    Raises:
        ConfigError: When we have no such model.
    """
    model = task.child("model")
    name = model.text("class")
    if name not in _MODELS or not model.of_qlib():
        raise ConfigError(
            "There is no counterpart of this model.",
            where=model.where("class"),
            got=name if model.of_qlib() else f"{name} of {model.content['module_path']}",
            expected=", ".join(_MODELS),
            hint=closest(name, _MODELS) or "`bench new model NAME` begins one of your own",
        )
    choice, keys = _MODELS[name]
    notes += model.left_over(("class", "module_path", "kwargs"), "no counterpart")
    settings: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in model.maybe("kwargs").content.items():
        _refuse_unlike(model.maybe("kwargs"), key, value)
        if key == "pt_model_kwargs" and isinstance(value, Mapping) and "layers" in value:
            settings["hidden_sizes"] = list(value["layers"])
        elif key in keys:
            settings[keys[key]] = value
        elif key in _DROPPED:
            notes.append(f"{model.path}.kwargs.{key}={value}: {_DROPPED[key]}")
        elif choice in _HAS_EXTRA:
            extra[str(key)] = value
        else:
            notes.append(f"{model.path}.kwargs.{key}={value}: our {choice} has no such key")
    return choice, {**settings, **({"extra": extra} if extra else {})}


def _refuse_unlike(kwargs: Node, key: object, value: object) -> None:
    """Refuse a value that no key of ours can hold."""
    if isinstance(value, list | Mapping) and key != "pt_model_kwargs":
        raise ConfigError(
            f"`{key}` has one value here.", where=kwargs.where(str(key)), got=value, expected="a number or a text"
        )
    if value == "???":
        raise ConfigError("A value is missing.", where=kwargs.where(str(key)), got=value, expected="a value")


def processor_of(entry: object, place: str, train: list[str], notes: list[str]) -> tuple[str, dict[str, Any]] | None:
    """Return ``features`` or ``label``, and our processor as configuration; None for one that is only noted.

    Raises:
        ConfigError: When we have no such processor.
    """
    record: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"class": entry}
    name, given = str(record.get("class", "")).rpartition(".")[2], dict(record.get("kwargs") or {})
    if name in _UNLIKE:
        notes.append(f"{place}.class={name}: {_UNLIKE[name]}")
        return None
    if name not in _PLAIN:
        raise ConfigError(
            "There is no counterpart of this processor.",
            where=place,
            got=name,
            expected=", ".join(_PLAIN),
            hint=closest(name, _PLAIN),
        )
    group = "label" if given.pop("fields_group", "feature") == "label" or name in _OF_LABELS else "features"
    fitted = [str(given.pop(key)) for key in ("fit_start_time", "fit_end_time") if key in given]
    if fitted and fitted != train:
        notes.append(f"{place}: fitted on {' … '.join(fitted)} there, on the first learning period here")
    translated: dict[str, Any] = {"_target_": f"harness.samples.preprocess.{name}"}
    if name == "RobustZScoreNorm":
        translated["clip"] = 3.0 if given.pop("clip_outlier", True) else None
    if name in ("DropCol", "FilterCol"):
        translated["names"] = list(given.pop("col_list", ()))
    for key in ("fill_value", "method"):
        if key in given:
            translated[key] = given.pop(key)
    notes += [f"{place}.kwargs.{key}={value}: no counterpart" for key, value in given.items()]
    return group, translated


_FEATURES = {"Alpha158": "alpha158", "Alpha360": "alpha360"}
# What qlib's handlers do when the workflow names no processors.
_USUAL = {
    "Alpha158": ([], ["DropnaLabel", {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}]),
    "Alpha360": (
        ["ProcessInf", "ZScoreNorm", "Fillna"],
        ["DropnaLabel", {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}],
    ),
}
_SECTIONS = ("qlib_init", "market", "benchmark", "data_handler_config", "port_analysis_config", "task")
_OF_HANDLER = (
    *("instruments", "start_time", "end_time", "fit_start_time", "fit_end_time", "label", "process_type"),
    *("infer_processors", "learn_processors"),
)
_RECORDS = ("SignalRecord", "SigAnaRecord", "PortAnaRecord")
_OF_RECORDS = ("model", "dataset", "config", "ana_long_short")
# What qlib's handlers take when nobody says.
_MARKET = "csi500"
# The label of qlib's handlers when the workflow names none.
_LABEL = "Ref($close, -2)/Ref($close, -1) - 1"
# As many times per test segment as there can be: one fit.
_ONE_FIT = 1_000_000


@dataclass(frozen=True)
class Translation:
    """An experiment and what could not be carried over.

    Attributes:
        overrides: Configuration group → choice.
        settings: The keys of the experiment.
        notes: What of the workflow has no counterpart, with the reason.
        source: Name of the workflow file.
    """

    overrides: dict[str, str]
    settings: dict[str, Any]
    notes: tuple[str, ...]
    source: str

    def to_yaml(self) -> str:
        """Return the experiment file, its notes as comments."""
        lines = ["# @package _global_", f"# Translated from qlib's {self.source} by `bench convert-qlib`."]
        lines += [f"# Not carried over: {' '.join(note.split())}" for note in self.notes]
        settings = _escaped(self.settings)
        defaults = [f"  - override /{group}: {choice}" for group, choice in self.overrides.items()]
        body = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
        return "\n".join([*lines, "defaults:", *defaults, "  - _self_", "", body])


def translate(
    workflow: Node, *, horizon: int = 20, step: int = 20, as_qlib: bool = False, as_is: bool = False
) -> Translation:
    """Translate a workflow.

    Args:
        workflow: What `read_workflow` returned.
        horizon, step: What qlib's rolling command takes beside the file; its label is replaced by the horizon.
        as_qlib: Keep qlib's rules where ours are stricter: suspended rows count, train and valid touch, valid is not
            learned from without early stopping.
        as_is: Take the file as it stands: one fit, and its own label; `horizon` and `step` are not used.

    Raises:
        ConfigError: When a section, the model, the handler or a processor has no counterpart.
    """
    notes: list[str] = []
    task = workflow.child("task")
    dataset = task.child("dataset").child("kwargs")
    handler, segments = dataset.child("handler"), dataset.child("segments")
    train = segments.dates("train")
    features = _features(handler)
    model, model_settings = model_of(task, notes)
    notes += workflow.left_over(_SECTIONS, "no counterpart")
    notes += workflow.child("qlib_init").left_over(("provider_uri", "region"), "no counterpart")
    notes += _of_task(task)
    label = _label(handler, horizon, as_is, notes)
    if not as_is:
        notes.append(f"one fit: here every {step} times, as in qlib's rolling (--as-is keeps it)")
    settings: dict[str, Any] = {
        "data": _data(workflow, handler, notes),
        "label": label,
        "windows": _windows(segments, train, _ONE_FIT if as_is else step),
        "preprocess": _preprocess(handler, train, notes),
        "model": model_settings,
    }
    overrides = {"data": "qlib_bin", "features": _FEATURES[features], "model": model}
    portfolio = portfolio_of(workflow, notes)
    notes += _dates(handler, workflow)
    if portfolio is not None:
        overrides["evaluation"] = "portfolio"
        settings["evaluation"] = {"portfolio": portfolio}
    if as_qlib:
        overrides["compat"] = "qlib"
        if model == "linear":
            model_settings.setdefault("include_valid", False)
    kept = {key: value for key, value in settings.items() if value}
    return Translation(overrides, kept, tuple(notes), workflow.file)


def check_composes(found: Translation) -> None:
    """Compose the experiment, so that no file is written that does not run.

    Raises:
        ConfigError: Names the key of the experiment, which is that of the workflow under our name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "experiment" / "converted.yaml"
        path.parent.mkdir()
        path.write_text(found.to_yaml(), encoding="utf-8", newline="\n")
        try:
            compose_config(["experiment=converted"], search_path=[scratch])
        except ConfigError as error:
            raise ConfigError(
                f"The workflow cannot be taken as it is: {error.what}",
                where=f"{found.source}, as {error.where}",
                got=error.got,
                expected=error.expected,
                hint=error.hint,
            ) from error


def _features(handler: Node) -> str:
    name = handler.text("class")
    if name not in _FEATURES or not handler.of_qlib():
        raise ConfigError(
            "There is no counterpart of this handler.",
            where=handler.where("class"),
            got=name if handler.of_qlib() else f"{name} of {handler.content['module_path']}",
            expected=", ".join(_FEATURES),
            hint=closest(name, _FEATURES) or "write its expressions with features=expressions",
        )
    return name


def _data(workflow: Node, handler: Node, notes: list[str]) -> dict[str, Any]:
    kwargs = handler.maybe("kwargs")
    found: dict[str, Any] = {"path": _folder(workflow.child("qlib_init"))}
    market = _market(workflow, kwargs, notes)
    if market is not None:
        found["universe"] = market
    if "benchmark" in workflow.content:
        found["benchmark"] = workflow.code("benchmark")
    notes += kwargs.left_over(_OF_HANDLER, "no counterpart")
    return found


def _folder(init: Node) -> str:
    """Return the data folder; of one folder per frequency the daily one."""
    folders = init.maybe("provider_uri")
    if not folders.content:
        return init.text("provider_uri")
    if "day" not in folders.content:
        raise ConfigError(
            "There is no folder of daily data.",
            where=init.where("provider_uri"),
            got=dict(folders.content),
            expected="a folder, or a mapping with `day`",
        )
    return folders.text("day")


def _market(workflow: Node, kwargs: Node, notes: list[str]) -> str | None:
    """Return the name of the universe, which stands in the handler or at the top, alone or with filters."""
    named = kwargs.maybe("instruments")
    if named.content:
        notes += named.left_over(("market",), "no counterpart: the universe is the market alone")
        return named.code("market")
    if "instruments" in kwargs.content:
        return kwargs.code("instruments")
    return workflow.code("market") or _MARKET


def _label(handler: Node, horizon: int, as_is: bool, notes: list[str]) -> dict[str, Any]:
    kwargs = handler.maybe("kwargs")
    own = kwargs.content.get("label", _LABEL)
    if not as_is:
        given = f"{kwargs.path}.label=" if "label" in kwargs.content else "the handler's own label "
        notes.append(f"{given}{own}: here the return over {horizon} times, as in qlib's rolling (--as-is keeps it)")
        return {"horizon": horizon}
    while isinstance(own, list) and own and (len(own) == 1 or isinstance(own[0], list)):
        own = own[0]  # [[expressions], [names]]
    if not isinstance(own, str):
        raise ConfigError("One label is learned here.", where=kwargs.where("label"), got=own, expected="one expression")
    return {"horizon": None, "expression": own}


def _dates(handler: Node, workflow: Node) -> list[str]:
    """Return one note for all dates that no window needs."""
    kwargs, backtest = handler.maybe("kwargs"), workflow.maybe("port_analysis_config").maybe("backtest")
    given = [
        f"{node.path}.{key}={node.content[key]}"
        for node in (kwargs, backtest)
        for key in ("start_time", "end_time")
        if key in node.content
    ]
    why = "the whole folder is read, and the portfolio is held over the test segment"
    return [f"{', '.join(given)}: {why}"] if given else []


def _escaped(node: Any) -> Any:
    """Return settings in which no text of a foreign file is resolved as a reference."""
    if isinstance(node, str):
        return node.replace("${", "\\${")
    if isinstance(node, Mapping):
        return {key: _escaped(value) for key, value in node.items()}
    return [_escaped(value) for value in node] if isinstance(node, list | tuple) else node


def _of_task(task: Node) -> list[str]:
    """Return what of the task is not read: another kind of dataset, and options of the records."""
    dataset = task.child("dataset")
    notes = task.left_over(("model", "dataset", "record"), "no counterpart")
    if dataset.content.get("class", "DatasetH") != "DatasetH":
        notes.append(f"{dataset.path}.class={dataset.content['class']}: rows are single times here, not sequences")
    notes += dataset.child("kwargs").left_over(("handler", "segments"), "no counterpart")
    notes += dataset.child("kwargs").child("segments").left_over(("train", "valid", "test"), "no such segment")
    records = task.content.get("record") or ()
    for at, record in enumerate([records] if isinstance(records, Mapping) else records):
        node = Node(
            record if isinstance(record, Mapping) else {"class": record}, f"task.record[{at}]", task.file, task.marks
        )
        if node.content.get("class") not in _RECORDS:
            notes.append(f"{node.path}.class={node.content.get('class')}: one snapshot records every run")
        notes += node.maybe("kwargs").left_over(_OF_RECORDS, "see evaluation.signal")
    return notes


def _windows(segments: Node, train: list[str], step: int) -> dict[str, Any]:
    found: dict[str, Any] = {"step": step, "train": train}
    if "valid" in segments.content:
        found["valid"] = segments.dates("valid")
    return {**found, "test": segments.dates("test")}


def _preprocess(handler: Node, train: list[str], notes: list[str]) -> dict[str, Any]:
    kwargs = handler.maybe("kwargs")
    usual = _USUAL[handler.text("class")]
    found: dict[str, list[Any]] = {"features": [], "label": []}
    for name, standard in zip(("infer_processors", "learn_processors"), usual, strict=True):
        for at, entry in enumerate(kwargs.content.get(name, standard) or ()):
            place = kwargs.where(f"{name}[{at}]")
            translated = processor_of(entry, place, train, notes)
            # The same processor before learning and before predicting is one here.
            if translated is not None and translated[1] not in found[translated[0]]:
                found[translated[0]].append(translated[1])
    fitted = [str(kwargs.content[key]) for key in ("fit_start_time", "fit_end_time") if key in kwargs.content]
    if fitted and fitted != train:
        notes.append(f"{kwargs.path}: fitted on {' … '.join(fitted)} there, on the first learning period here")
    if kwargs.content.get("process_type", "append") != "append":
        notes.append(f"{kwargs.path}.process_type={kwargs.content['process_type']}: one chain serves both here")
    return {"_target_": "harness.preprocess.Pipeline", **found, "refit": "once"}

"""qlib's models and processors under our names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import ConfigError, closest
from harness.integrations.qlib_workflow.workflow import Node

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

    Raises
    ------
    ConfigError
        When we have no such model.
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

    Raises
    ------
    ConfigError
        When we have no such processor.
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

"""One experiment file out of one workflow file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml  # type: ignore[import-untyped]

from harness.errors import ConfigError, closest
from harness.qlib_workflow.models import model_of, processor_of
from harness.qlib_workflow.workflow import Node

__all__ = ["Translation", "translate"]

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
_OF_STRATEGY = ("topk", "n_drop", "hold_thresh", "risk_degree", "forbid_all_trade_at_limit")
_OF_BACKTEST = ("start_time", "end_time", "account", "benchmark", "exchange_kwargs")
_RECORDS = ("SignalRecord", "SigAnaRecord", "PortAnaRecord")
_OF_RECORDS = ("model", "dataset", "config", "ana_long_short")
_COSTS = ("open_cost", "close_cost", "min_cost", "limit_threshold", "deal_price")


@dataclass(frozen=True)
class Translation:
    """An experiment and what could not be carried over.

    Attributes
    ----------
    overrides
        Configuration group → choice.
    settings
        The keys of the experiment.
    notes
        What of the workflow has no counterpart, with the reason.
    source
        Name of the workflow file.
    """

    overrides: dict[str, str]
    settings: dict[str, Any]
    notes: tuple[str, ...]
    source: str

    def to_yaml(self) -> str:
        """Return the experiment file, its notes as comments."""
        lines = ["# @package _global_", f"# Translated from qlib's {self.source} by `bench convert-qlib`."]
        lines += [f"# Not carried over: {' '.join(note.split())}" for note in self.notes]
        defaults = [f"  - override /{group}: {choice}" for group, choice in self.overrides.items()]
        body = yaml.safe_dump(self.settings, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
        return "\n".join([*lines, "defaults:", *defaults, "  - _self_", "", body])


def translate(workflow: Node, *, horizon: int = 20, step: int = 20, as_qlib: bool = False) -> Translation:
    """Translate a workflow.

    Parameters
    ----------
    workflow
        What `read_workflow` returned.
    horizon, step
        What qlib's rolling command takes beside the file; its label is replaced by the horizon.
    as_qlib
        Keep qlib's rules where ours are stricter: suspended rows count, train and valid touch.

    Raises
    ------
    ConfigError
        When a section, the model, the handler or a processor has no counterpart.
    """
    notes: list[str] = []
    task = workflow.child("task")
    dataset = task.child("dataset").child("kwargs")
    handler, segments = dataset.child("handler"), dataset.child("segments")
    train = segments.dates("train")
    features = _features(handler)
    model, model_settings = model_of(task, notes)
    notes += workflow.left_over(_SECTIONS, "no counterpart")
    notes += workflow.child("qlib_init").left_over(("provider_uri",), "costs and limits stand in evaluation.portfolio")
    notes += _of_task(task)
    settings: dict[str, Any] = {
        "data": _data(workflow, handler, notes),
        "label": {"horizon": horizon},
        "windows": _windows(segments, train, step),
        "preprocess": _preprocess(handler, train, notes),
        "model": model_settings,
    }
    overrides = {"data": "qlib_bin", "features": _FEATURES[features], "model": model}
    portfolio = _portfolio(workflow, notes)
    if portfolio is not None:
        overrides["evaluation"] = "portfolio"
        settings["evaluation"] = {"portfolio": portfolio}
    if as_qlib:
        overrides["compat"] = "qlib"
    kept = {key: value for key, value in settings.items() if value}
    return Translation(overrides, kept, tuple(notes), workflow.file)


def _features(handler: Node) -> str:
    name = handler.text("class")
    if name not in _FEATURES:
        raise ConfigError(
            "There is no counterpart of this handler.",
            where=f"{handler.file}: {handler.path}.class",
            got=name,
            expected=", ".join(_FEATURES),
            hint=closest(name, _FEATURES) or "write its expressions with features=expressions",
        )
    return name


def _data(workflow: Node, handler: Node, notes: list[str]) -> dict[str, Any]:
    kwargs = handler.maybe("kwargs")
    market = kwargs.content.get("instruments", workflow.content.get("market"))
    found: dict[str, Any] = {"path": workflow.child("qlib_init").text("provider_uri")}
    if market is not None:
        found["universe"] = str(market)
    if "benchmark" in workflow.content:
        benchmark = workflow.content["benchmark"]
        found["benchmark"] = None if benchmark is None else str(benchmark)
    for key in ("start_time", "end_time"):
        if key in kwargs.content:
            notes.append(
                f"{kwargs.path}.{key}={kwargs.content[key]}: the whole folder is read, the windows give the dates"
            )
    if "label" in kwargs.content:
        notes.append(
            f"{kwargs.path}.label={kwargs.content['label']}: qlib's rolling replaces it by the horizon, so do we"
        )
    notes += kwargs.left_over(_OF_HANDLER, "no counterpart")
    return found


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
        node = Node(record if isinstance(record, Mapping) else {"class": record}, f"task.record[{at}]", task.file)
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
            place = f"{handler.file}: {kwargs.path}.{name}[{at}]"
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


def _portfolio(workflow: Node, notes: list[str]) -> dict[str, Any] | None:
    analysis = workflow.maybe("port_analysis_config")
    if not analysis.content:
        return None
    strategy, backtest = analysis.child("strategy"), analysis.maybe("backtest")
    notes += analysis.left_over(("strategy", "backtest"), "no counterpart")
    notes += strategy.maybe("kwargs").left_over((*_OF_STRATEGY, "signal", "model", "dataset"), "no counterpart")
    notes += backtest.left_over(_OF_BACKTEST, "no counterpart")
    for key in ("start_time", "end_time"):
        if key in backtest.content:
            notes.append(f"{backtest.path}.{key}={backtest.content[key]}: the portfolio is held over the test segment")
    if backtest.content.get("benchmark", workflow.content.get("benchmark")) != workflow.content.get("benchmark"):
        notes.append(f"{backtest.path}.benchmark={backtest.content['benchmark']}: data.benchmark is the workflow's own")
    if strategy.text("class") != "TopkDropoutStrategy":
        notes.append(f"{strategy.path}.class={strategy.text('class')}: ours is TopkDropoutStrategy")
        return None
    found = {
        key: strategy.maybe("kwargs").content[key] for key in _OF_STRATEGY if key in strategy.maybe("kwargs").content
    }
    if "account" in backtest.content:
        found["account"] = float(backtest.content["account"])
    exchange = backtest.maybe("exchange_kwargs").content
    found |= {key: exchange[key] for key in _COSTS if key in exchange}
    if isinstance(found.get("deal_price"), str):
        found["deal_price"] = found["deal_price"].removeprefix("$")
    notes += [
        f"{backtest.path}.exchange_kwargs.{k}={v}: no counterpart" for k, v in exchange.items() if k not in _COSTS
    ]
    return found

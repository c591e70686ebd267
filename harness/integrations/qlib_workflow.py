"""From a workflow file of qlib's rolling benchmarks to an experiment of ours.

A file is read into nodes, which look values up with errors that name their place; what has no counterpart is noted.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness.config import compose_config
from harness.errors import ConfigError, closest

_SHOWN = 60  # characters of a value that a note shows
_MOST_VALUES = 50_000  # a file whose aliases unfold to more than this is no workflow
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"
_TEMPLATE = re.compile(r"\{\{\s*[\w.]+\s*[|}]|\{%")
_IS_IT = "is this a workflow of qlib (`qrun`)?"
# Dotted place → its line, counted from 1, and how a scalar is written there before YAML reads ``000300`` as 192 or
# ``NO`` as false; None for null and for what is no scalar.
_Marks = dict[str, tuple[int, str | None]]


@dataclass(frozen=True)
class Node:
    """A mapping of the file and where it stands."""

    content: Mapping[str, Any]
    path: str  # dotted place in the file
    file: str
    marks: _Marks = field(repr=False)  # how everything is written, for the whole file
    # what has no counterpart, with the reason; one list for the whole file
    notes: list[str] = field(default_factory=list, repr=False)

    def maybe(self, key: str) -> Node:
        found = self.content.get(key)
        return replace(self, content=found if isinstance(found, Mapping) else {}, path=self.place(key))

    def child(self, key: str) -> Node:
        """Return a mapping inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, Mapping):
            sections = "what qlib's rolling benchmarks have: task.model, task.dataset with handler and segments"
            raise self.error("The workflow lacks a section.", key, type(found).__name__, sections, _IS_IT)
        return self.maybe(key)

    def text(self, key: str) -> str:
        """Return a text inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, str):
            raise self.error("The workflow lacks a name.", key, found, "a text")
        return found

    def dates(self, key: str) -> list[str]:
        """Return two dates inside as ISO text; raises `ConfigError` when they are something else."""
        found = self.content.get(key)
        if not isinstance(found, list | tuple) or len(found) != 2 or any(d is None for d in found):
            raise self.error("A segment is no pair of dates.", key, found, "[first, last]")
        return [str(date) for date in found]

    def code(self, key: str) -> str | None:
        """Return a name inside as it is written, so that ``000300`` keeps its zeros; None for null."""
        found = self.content.get(key)
        if isinstance(found, Mapping | list):
            expected = "the name of a market (a file of instruments/), or one code"
            hint = "write the codes into instruments/NAME.txt of the data folder, and name it here"
            raise self.error("One name is wanted here.", key, _short(found), expected, hint)
        written = self.marks.get(self.place(key), (0, None))[1]
        return None if found is None else str(found) if written is None else written

    def class_name(self) -> str:
        """Return the class that is named here, with its module when it is none of qlib's as far as the file says."""
        module = str(self.content.get("module_path") or "qlib")
        return self.text("class") + ("" if module.partition(".")[0] == "qlib" else f" of {module}")

    def known(self, key: str, name: str, names: Collection[str], what: str, hint: str | None = None) -> str:
        """Return a name that is one of `names`; raises `ConfigError` that says `what` otherwise."""
        if name not in names:
            raise self.error(what, key, name, ", ".join(names), closest(name, names) or hint)
        return name

    def error(self, what: str, key: str, got: object, expected: object, hint: str | None = None) -> ConfigError:
        place = inner = self.place(key)
        while inner and inner not in self.marks:
            inner = inner.rpartition(".")[0]
        line = f", line {self.marks[inner][0]}" if inner in self.marks else ""
        return ConfigError(what, where=f"{self.file}{line}: {place}", got=got, expected=expected, hint=hint)

    def note_others(self, known: Collection[str], why: str = "no counterpart") -> None:
        for key, value in self.content.items():
            if key not in known:
                self.note(str(key), value, why)

    def note(self, key: str, value: object, why: str) -> None:
        self.notes.append(f"{self.place(key)}={_short(value)}: {why}")

    def place(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def read_workflow(path: Path) -> Node:
    """Return the content of a workflow file.

    Raises:
        ConfigError: When it is missing, no YAML mapping, unfolds without end, or is a template.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        marks = {} if root is None else _marks(root, path)
        content = yaml.safe_load(text)
        if not isinstance(content, Mapping):
            raise yaml.YAMLError(f"this is no mapping but {type(content).__name__}")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        what, got = "The workflow cannot be read.", " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(what, where=str(path), got=got, expected="a YAML mapping", hint=_IS_IT) from error
    template = _TEMPLATE.search(text)
    if template is not None:
        what, where = "The workflow is a template.", f"{path.name}, line {text.count(chr(10), 0, template.start()) + 1}"
        expected, hint = "a file whose values stand in it", "put the values in first, as qrun does from the environment"
        raise ConfigError(what, where=where, got=template[0], expected=expected, hint=hint)
    return Node(content, "", path.name, marks)


def _marks(root: yaml.Node, file: Path) -> _Marks:
    """Return where everything stands and how it is written, aliases unfolded."""
    found: _Marks = {}

    def walk(node: yaml.Node, path: str, above: tuple[int, ...]) -> None:
        line, inner = node.start_mark.line + 1, (*above, id(node))
        if id(node) in above or len(found) > _MOST_VALUES:
            what, where = "The aliases of the workflow unfold without end.", f"{file.name}, line {line}: {path}"
            got = "an alias inside itself" if id(node) in above else f"more than {_MOST_VALUES} values"
            raise ConfigError(what, where=where, got=got, expected="a workflow of qlib")
        is_text = isinstance(node, yaml.ScalarNode) and node.tag != _NULL
        found.setdefault(path, (line, node.value if is_text else None))
        if isinstance(node, yaml.SequenceNode):
            for at, item in enumerate(node.value):
                walk(item, f"{path}[{at}]", inner)
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in (pair for pair in node.value if pair[0].tag != _MERGE):
                place, line = f"{path}.{key.value}" if path else str(key.value), key.start_mark.line + 1
                if place in lines:  # readers of YAML take one of them, and not all the same
                    what, where = "A key stands twice in one mapping.", f"{file.name}, line {line}: {place}"
                    raise ConfigError(what, where=where, got=f"also on line {lines[place]}", expected="each key once")
                lines[place] = line
                walk(value, place, inner)
            for merged in (value for key, value in node.value if key.tag == _MERGE):
                for each in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
                    walk(each, path, inner)

    walk(root, "", ())
    return found


def _keys(names: str) -> dict[str, str]:
    return {theirs: ours or theirs for theirs, _, ours in (name.partition("=") for name in names.split())}


_OF_LIGHTGBM = "loss num_leaves colsample_bytree lambda_l1 lambda_l2 num_threads=threads"
_BOOSTED = "learning_rate max_depth subsample num_boost_round early_stopping_rounds seed "
# qlib's class → our choice, and keyword → key.
_MODELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "LinearModel": ("linear", _keys("estimator alpha fit_intercept include_valid")),
    "LGBModel": ("lightgbm", _keys(_BOOSTED + _OF_LIGHTGBM)),
    "XGBModel": ("xgboost", _keys(_BOOSTED + "colsample_bytree eta=learning_rate nthread=threads")),
    "CatBoostModel": ("catboost", _keys(_BOOSTED + "num_leaves grow_policy thread_count=threads")),
    "DNNModelPytorch": ("mlp", _keys("loss lr optimizer batch_size weight_decay seed")),
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
_HAS_EXTRA = ("lightgbm", "xgboost", "catboost")
_PROCESSORS = """CSRankNorm CSZFillna ProcessInf TanhProcess DropnaLabel ZScoreNorm MinMaxNorm CSZScoreNorm Fillna
    RobustZScoreNorm DropCol FilterCol""".split()
_FEATURES = {"Alpha158": "alpha158", "Alpha360": "alpha360"}
# What qlib's handlers do when the workflow names no processors: before predicting, and before learning.
_LEARN = ["DropnaLabel", {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}]
_USUAL = {"Alpha158": ([], _LEARN), "Alpha360": (["ProcessInf", "ZScoreNorm", "Fillna"], _LEARN)}
_FIT = ("fit_start_time", "fit_end_time")
_OF_HANDLER = """instruments start_time end_time fit_start_time fit_end_time label process_type infer_processors
    learn_processors""".split()
_MARKET = "csi500"  # what qlib's handlers take when nobody says
_LABEL = "Ref($close, -2)/Ref($close, -1) - 1"  # of qlib's handlers when the workflow names none
_ONE_FIT = 1_000_000  # a step as long as the test segment can be
_OF_STRATEGY = ("topk", "n_drop", "hold_thresh", "risk_degree", "forbid_all_trade_at_limit")
_OF_EXCHANGE = ("open_cost", "close_cost", "min_cost", "limit_threshold", "deal_price", "trade_unit")
# qlib.config: what each region's exchange is when the file does not say.
_REGIONS: Mapping[str, Mapping[str, Any]] = {
    "cn": {"trade_unit": 100, "limit_threshold": 0.095, "deal_price": "close"},
    "us": {"trade_unit": 1, "limit_threshold": None, "deal_price": "close"},
    "tw": {"trade_unit": 1000, "limit_threshold": 0.1, "deal_price": "close"},
}
# qlib.backtest: of its Exchange and of `backtest`.
_COSTS = {"open_cost": 0.0015, "close_cost": 0.0025, "min_cost": 5.0}
_ACCOUNT = 1e9
_FIELD = re.compile(r"\$?[A-Za-z_]\w*")


@dataclass(frozen=True)
class Translation:
    """An experiment as configuration group → choice and settings, and what of the file `source` has no counterpart."""

    overrides: dict[str, str]
    settings: dict[str, Any]
    notes: tuple[str, ...]
    source: str

    def to_yaml(self) -> str:
        lines = ["# @package _global_", f"# Translated from qlib's {self.source} by `bench convert-qlib`."]
        lines += [f"# Not carried over: {' '.join(note.split())}" for note in self.notes]
        lines += ["defaults:", *(f"  - override /{group}: {choice}" for group, choice in self.overrides.items())]
        options = {"sort_keys": False, "default_flow_style": None, "width": 110, "allow_unicode": True}
        return "\n".join([*lines, "  - _self_", "", yaml.safe_dump(_escaped(self.settings), **options)])


def _escaped(node: Any) -> Any:
    """Return settings in which no text of a foreign file is resolved as a reference."""
    if isinstance(node, str):
        return node.replace("${", "\\${")
    if isinstance(node, Mapping):
        return {key: _escaped(value) for key, value in node.items()}
    return [_escaped(value) for value in node] if isinstance(node, list | tuple) else node


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
    workflow = replace(workflow, notes=[])
    task = workflow.child("task")
    dataset = task.child("dataset").child("kwargs")
    handler, segments = dataset.child("handler"), dataset.child("segments")
    train = segments.dates("train")
    what, hint = "There is no counterpart of this handler.", "write its expressions with features=expressions"
    features = handler.known("class", handler.class_name(), _FEATURES, what, hint)
    model, model_settings = _model(task)
    workflow.note_others("qlib_init market benchmark data_handler_config port_analysis_config task".split())
    workflow.child("qlib_init").note_others(("provider_uri", "region"))
    _note_task(task)
    kwargs = handler.maybe("kwargs")
    label = _label(kwargs, horizon, as_is)
    if not as_is:
        workflow.notes.append(f"one fit: here every {step} times, as in qlib's rolling (--as-is keeps it)")
    dates = {name: segments.dates(name) for name in ("train", "valid", "test") if name in segments.content}
    settings: dict[str, Any] = {
        "data": _data(workflow, kwargs),
        "label": label,
        "windows": {"step": _ONE_FIT if as_is else step, **dates, "test": segments.dates("test")},
        "preprocess": _preprocess(kwargs, _USUAL[features], train),
        "model": model_settings,
    }
    overrides = {"data": "qlib_bin", "features": _FEATURES[features], "model": model}
    if (portfolio := _portfolio(workflow)) is not None:
        overrides["evaluation"] = "portfolio"
        settings["evaluation"] = {"portfolio": portfolio}
    _note_dates(handler, workflow)
    if as_qlib:
        overrides["compat"] = "qlib"
        if model == "linear":
            model_settings.setdefault("include_valid", False)
    kept = {key: value for key, value in settings.items() if value}
    return Translation(overrides, kept, tuple(workflow.notes), workflow.file)


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
            what, where = f"The workflow cannot be taken as it is: {error.what}", f"{found.source}, as {error.where}"
            raise ConfigError(what, where=where, got=error.got, expected=error.expected, hint=error.hint) from error


def _model(task: Node) -> tuple[str, dict[str, Any]]:
    model, kwargs = task.child("model"), task.child("model").maybe("kwargs")
    what, hint = "There is no counterpart of this model.", "`bench new model NAME` begins one of your own"
    choice, keys = _MODELS[model.known("class", model.class_name(), _MODELS, what, hint)]
    model.note_others(("class", "module_path", "kwargs"))
    settings, extra = dict[str, Any](), dict[str, Any]()
    for key, value in kwargs.content.items():
        if isinstance(value, list | Mapping) and key != "pt_model_kwargs":
            raise kwargs.error(f"`{key}` has one value here.", str(key), value, "a number or a text")
        if value == "???":
            raise kwargs.error("A value is missing.", str(key), value, "a value")
        if key == "pt_model_kwargs" and isinstance(value, Mapping) and "layers" in value:
            settings["hidden_sizes"] = list(value["layers"])
        elif key in keys:
            settings[keys[key]] = value
        elif key not in _DROPPED and choice in _HAS_EXTRA:
            extra[str(key)] = value
        else:
            kwargs.note(str(key), value, _DROPPED.get(key, f"our {choice} has no such key"))
    return choice, {**settings, **({"extra": extra} if extra else {})}


def _data(workflow: Node, kwargs: Node) -> dict[str, Any]:
    init = workflow.child("qlib_init")
    folders = init.maybe("provider_uri")
    if folders.content and "day" not in folders.content:
        expected = "a folder, or a mapping with `day`"
        raise init.error("There is no folder of daily data.", "provider_uri", dict(folders.content), expected)
    path = folders.text("day") if folders.content else init.text("provider_uri")
    # The universe stands in the handler or at the top, alone or with filters.
    named = kwargs.maybe("instruments")
    if named.content:
        named.note_others(("market",), "no counterpart: the universe is the market alone")
        market = named.code("market")
    elif "instruments" in kwargs.content:
        market = kwargs.code("instruments")
    else:
        market = workflow.code("market") or _MARKET
    benchmark = {"benchmark": workflow.code("benchmark")} if "benchmark" in workflow.content else {}
    kwargs.note_others(_OF_HANDLER)
    return {"path": path, **({} if market is None else {"universe": market}), **benchmark}


def _label(kwargs: Node, horizon: int, as_is: bool) -> dict[str, Any]:
    own = kwargs.content.get("label", _LABEL)
    if not as_is:
        given = f"{kwargs.path}.label=" if "label" in kwargs.content else "the handler's own label "
        why = f"here the return over {horizon} times, as in qlib's rolling (--as-is keeps it)"
        kwargs.notes.append(f"{given}{own}: {why}")
        return {"horizon": horizon}
    while isinstance(own, list) and own and (len(own) == 1 or isinstance(own[0], list)):
        own = own[0]  # [[expressions], [names]]
    if not isinstance(own, str):
        raise kwargs.error("One label is learned here.", "label", own, "one expression")
    return {"horizon": None, "expression": own}


def _note_task(task: Node) -> None:
    dataset = task.child("dataset")
    task.note_others(("model", "dataset", "record"))
    if dataset.content.get("class", "DatasetH") != "DatasetH":
        dataset.note("class", dataset.content["class"], "rows are single times here, not sequences")
    dataset.child("kwargs").note_others(("handler", "segments"))
    dataset.child("kwargs").child("segments").note_others(("train", "valid", "test"), "no such segment")
    records = task.content.get("record") or []
    for at, record in enumerate(records if isinstance(records, list) else [records]):
        content = record if isinstance(record, Mapping) else {"class": record}
        node = replace(task, content=content, path=f"task.record[{at}]")
        if content.get("class") not in ("SignalRecord", "SigAnaRecord", "PortAnaRecord"):
            node.note("class", content.get("class"), "one snapshot records every run")
        node.maybe("kwargs").note_others(("model", "dataset", "config", "ana_long_short"), "see evaluation.signal")


def _note_dates(handler: Node, workflow: Node) -> None:
    nodes = (handler.maybe("kwargs"), workflow.maybe("port_analysis_config").maybe("backtest"))
    keys = ((node, key) for node in nodes for key in ("start_time", "end_time") if key in node.content)
    given = ", ".join(f"{node.place(key)}={node.content[key]}" for node, key in keys)
    if given:
        workflow.notes.append(f"{given}: the whole folder is read, and the portfolio is held over the test segment")


def _preprocess(kwargs: Node, usual: tuple[list[Any], list[Any]], train: list[str]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {"features": [], "label": []}
    for name, standard in zip(("infer_processors", "learn_processors"), usual, strict=True):
        entries = kwargs.content.get(name, standard) or []
        if not isinstance(entries, list):
            raise kwargs.error("The processors are no list.", name, entries, "a list of classes, with their kwargs")
        for at, entry in enumerate(entries):
            translated = _processor(kwargs, f"{name}[{at}]", entry, train)
            # The same processor before learning and before predicting is one here.
            if translated is not None and translated[1] not in found[translated[0]]:
                found[translated[0]].append(translated[1])
    _note_fit(kwargs, kwargs.path, dict(kwargs.content), train)
    if kwargs.content.get("process_type", "append") != "append":
        kwargs.note("process_type", kwargs.content["process_type"], "one chain serves both here")
    return {"_target_": "harness.preprocess.Pipeline", **found, "refit": "once"}


def _processor(kwargs: Node, key: str, entry: object, train: list[str]) -> tuple[str, dict[str, Any]] | None:
    """Return ``features`` or ``label``, and our processor as configuration; None for one that is only noted."""
    record: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"class": entry}
    name, given = str(record.get("class", "")).rpartition(".")[2], dict(record.get("kwargs") or {})
    if name == "DropnaProcessor":
        why = "rows with missing features are learned from here: put Fillna or CSZFillna before"
        kwargs.note(f"{key}.class", name, why)
        return None
    kwargs.known(key, name, _PROCESSORS, "There is no counterpart of this processor.")
    group = "label" if given.pop("fields_group", "feature") == "label" or name == "DropnaLabel" else "features"
    _note_fit(kwargs, kwargs.place(key), given, train)
    translated: dict[str, Any] = {"_target_": f"harness.preprocess.{name}"}
    if name == "RobustZScoreNorm":
        translated["clip"] = 3.0 if given.pop("clip_outlier", True) else None
    if name in ("DropCol", "FilterCol"):
        translated["names"] = list(given.pop("col_list", ()))
    translated |= {option: given.pop(option) for option in ("fill_value", "method") if option in given}
    for option, value in given.items():
        kwargs.note(f"{key}.kwargs.{option}", value, "no counterpart")
    return group, translated


def _note_fit(kwargs: Node, place: str, given: dict[str, Any], train: list[str]) -> None:
    """Take the fitting dates out of what is given, and note them when they are not those of train."""
    fitted = [str(given.pop(key)) for key in _FIT if key in given]
    if fitted and fitted != train:
        kwargs.notes.append(f"{place}: fitted on {' … '.join(fitted)} there, on the first learning period here")


def _portfolio(workflow: Node) -> dict[str, Any] | None:
    analysis = workflow.maybe("port_analysis_config")
    if not analysis.content:
        return None
    strategy, backtest = analysis.child("strategy"), analysis.maybe("backtest")
    analysis.note_others(("strategy", "backtest"))
    given = strategy.maybe("kwargs")
    given.note_others((*_OF_STRATEGY, "signal", "model", "dataset"))
    backtest.note_others(("start_time", "end_time", "account", "benchmark", "exchange_kwargs", *_OF_EXCHANGE))
    if backtest.content.get("benchmark", workflow.content.get("benchmark")) != workflow.content.get("benchmark"):
        backtest.note("benchmark", backtest.code("benchmark"), "data.benchmark is the workflow's own")
    if (name := strategy.class_name()) != "TopkDropoutStrategy":
        strategy.note("class", name, "ours is qlib's TopkDropoutStrategy")
        return None
    account = backtest.content.get("account", _ACCOUNT)
    if isinstance(account, bool) or not isinstance(account, int | float):
        raise backtest.error("The account is money.", "account", account, "a number")
    found = {key: given.content[key] for key in _OF_STRATEGY if key in given.content}
    return {**found, "account": float(account), **_exchange(workflow.child("qlib_init"), backtest)}


def _exchange(init: Node, backtest: Node) -> dict[str, Any]:
    """Return the rules and costs of the exchange, from either place where versions of qlib have them."""
    name = str(init.content.get("region") or "cn").lower()
    hint = "write trade_unit, limit_threshold and deal_price into exchange_kwargs"
    region = _REGIONS[init.known("region", name, _REGIONS, "Unknown region.", hint)]
    inner = backtest.maybe("exchange_kwargs")
    inner.note_others(_OF_EXCHANGE)
    found: dict[str, Any] = {**_COSTS, **region}
    for key in _OF_EXCHANGE:
        places = [node for node in (inner, backtest) if key in node.content]
        if len(places) == 2 and inner.content[key] != backtest.content[key]:
            got = f"{backtest.content[key]} and, in exchange_kwargs, {inner.content[key]}"
            raise backtest.error(f"`{key}` stands in two places with two values.", key, got, "one of them")
        if places:
            found[key] = _exchange_value(places[0], key)
    # As qlib does: null is the region's.
    return {**found, **{k: region[k] for k in ("limit_threshold", "deal_price") if found[k] is None}}


def _exchange_value(node: Node, key: str) -> Any:
    value = node.content[key]
    if key != "deal_price":
        if isinstance(value, list | Mapping):
            raise node.error(f"`{key}` is one number here.", key, value, "a number, or null")
        return value
    prices = set(value) if isinstance(value, list) else {value}
    one = next(iter(prices)) if len(prices) == 1 else None
    if value is not None and (not isinstance(one, str) or not _FIELD.fullmatch(one)):
        what = "Orders are filled at one field of the data here."
        raise node.error(what, key, value, "one field for purchases and sales, such as close, open or vwap")
    return None if one is None else one.removeprefix("$")

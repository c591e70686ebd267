"""Read a qlib workflow file, and look values up in it with errors that name their place."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml  # type: ignore[import-untyped]

from harness.errors import ConfigError, closest

# Characters of a value that a note shows.
_SHOWN = 60
# A file whose aliases unfold to more values than this is no workflow.
_MOST_VALUES = 50_000
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"
_TEMPLATE = re.compile(r"\{\{\s*[\w.]+\s*[|}]|\{%")


@dataclass(frozen=True)
class Mark:
    """Where a value stands in the file, and how it is written there.

    Attributes:
        line: Counted from 1.
        text: Of a scalar, before YAML reads ``000300`` as 192 or ``NO`` as false; None for null and for what is no
            scalar.
    """

    line: int
    text: str | None


@dataclass(frozen=True)
class Node:
    """A mapping of the file and where it stands.

    Attributes:
        content: Key → value.
        path: Dotted place in the file.
        file: The file's name, for errors.
        marks: Dotted place → how it is written, for the whole file.
    """

    content: Mapping[str, Any]
    path: str
    file: str
    marks: Mapping[str, Mark] = field(default_factory=dict, repr=False)

    def child(self, key: str) -> Node:
        """Return a mapping inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, Mapping):
            raise ConfigError(
                "The workflow lacks a section.",
                where=self.where(key),
                got=type(found).__name__,
                expected="what qlib's rolling benchmarks have: task.model, task.dataset with handler and segments",
                hint="is this a workflow of qlib (`qrun`)?",
            )
        return Node(found, self._place(key), self.file, self.marks)

    def maybe(self, key: str) -> Node:
        """Return a mapping inside, empty when there is none."""
        found = self.content.get(key)
        return Node(found if isinstance(found, Mapping) else {}, self._place(key), self.file, self.marks)

    def text(self, key: str) -> str:
        """Return a text inside; raises `ConfigError` when there is none."""
        found = self.content.get(key)
        if not isinstance(found, str):
            raise ConfigError("The workflow lacks a name.", where=self.where(key), got=found, expected="a text")
        return found

    def dates(self, key: str) -> list[str]:
        """Return two dates inside as ISO text; raises `ConfigError` when they are something else."""
        found = self.content.get(key)
        if not isinstance(found, list | tuple) or len(found) != 2 or any(d is None for d in found):
            raise ConfigError(
                "A segment is no pair of dates.",
                where=self.where(key),
                got=found,
                expected="[first, last]",
            )
        return [str(date) for date in found]

    def code(self, key: str) -> str | None:
        """Return a name inside as it is written, so that ``000300`` keeps its zeros; None for null.

        Raises:
            ConfigError: When it is a list or a mapping.
        """
        found, mark = self.content.get(key), self.marks.get(self._place(key))
        if isinstance(found, Mapping | list):
            raise ConfigError(
                "One name is wanted here.",
                where=self.where(key),
                got=_short(found),
                expected="the name of a market (a file of instruments/), or one code",
                hint="write the codes into instruments/NAME.txt of the data folder, and name it here",
            )
        if found is None:
            return None
        return str(found) if mark is None or mark.text is None else mark.text

    def of_qlib(self) -> bool:
        """Return whether the class that is named here is one of qlib's, as far as the file says."""
        module = self.content.get("module_path")
        return module is None or str(module).partition(".")[0] == "qlib"

    def where(self, key: str = "") -> str:
        """Return the place of a key, with its line, for errors; of the mapping itself without a key."""
        place = self._place(key) if key else self.path
        inner = place
        while inner and inner not in self.marks:
            inner = inner.rpartition(".")[0]
        line = f", line {self.marks[inner].line}" if inner in self.marks else ""
        return f"{self.file}{line}: {place}"

    def left_over(self, known: Collection[str], why: str) -> list[str]:
        """Return a note for every key that is not among those known."""
        return [f"{self._place(str(k))}={_short(v)}: {why}" for k, v in self.content.items() if k not in known]

    def _place(self, key: str) -> str:
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
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            "The workflow cannot be read.",
            where=str(path),
            got=" ".join(f"{type(error).__name__}: {error}".split()),
            expected="a YAML file of qlib",
            hint="bench convert-qlib workflow.yaml",
        ) from error
    if not isinstance(content, Mapping):
        raise ConfigError(
            "The workflow cannot be read.",
            where=str(path),
            got=type(content).__name__,
            expected="a YAML mapping",
            hint="is this a workflow of qlib (`qrun`)?",
        )
    template = _TEMPLATE.search(text)
    if template is not None:
        raise ConfigError(
            "The workflow is a template.",
            where=f"{path.name}, line {text.count(chr(10), 0, template.start()) + 1}",
            got=template[0],
            expected="a file whose values stand in it",
            hint="put the values in first, as qrun does from the environment",
        )
    return Node(content, "", path.name, marks)


def _refuse_twice(keys: list[yaml.Node], path: str, file: Path) -> None:
    """Refuse a key that stands twice in a mapping: YAML readers take one of them, and not all the same."""
    seen: dict[str, int] = {}
    for key in keys:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            raise ConfigError(
                "A key stands twice in one mapping.",
                where=f"{file.name}, line {line}: {path}.{name}" if path else f"{file.name}, line {line}: {name}",
                got=f"also on line {seen[name]}",
                expected="each key once",
            )
        seen[name] = line


def _marks(root: yaml.Node, file: Path) -> dict[str, Mark]:
    """Return where everything stands and how it is written, aliases unfolded."""
    found: dict[str, Mark] = {}

    def walk(node: yaml.Node, path: str, above: tuple[int, ...]) -> None:
        if id(node) in above or len(found) > _MOST_VALUES:
            raise ConfigError(
                "The aliases of the workflow unfold without end.",
                where=f"{file.name}, line {node.start_mark.line + 1}: {path}",
                got=f"more than {_MOST_VALUES} values" if id(node) not in above else "an alias inside itself",
                expected="a workflow of qlib",
            )
        is_text = isinstance(node, yaml.ScalarNode) and node.tag != _NULL
        found.setdefault(path, Mark(node.start_mark.line + 1, node.value if is_text else None))
        inner = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            for at, item in enumerate(node.value):
                walk(item, f"{path}[{at}]", inner)
        if isinstance(node, yaml.MappingNode):
            own = [(key, value) for key, value in node.value if key.tag != _MERGE]
            _refuse_twice([key for key, _ in own], path, file)
            for key, value in own:
                walk(value, f"{path}.{key.value}" if path else str(key.value), inner)
            for key, value in node.value:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if key.tag == _MERGE:
                        walk(merged, path, inner)

    walk(root, "", ())
    return found


_OF_STRATEGY = ("topk", "n_drop", "hold_thresh", "risk_degree", "forbid_all_trade_at_limit")
_OF_BACKTEST = ("start_time", "end_time", "account", "benchmark", "exchange_kwargs")
_OF_EXCHANGE = ("open_cost", "close_cost", "min_cost", "limit_threshold", "deal_price", "trade_unit")
# qlib.config: what each region's exchange is when the file does not say.
_REGIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cn": {"trade_unit": 100, "limit_threshold": 0.095, "deal_price": "close"},
        "us": {"trade_unit": 1, "limit_threshold": None, "deal_price": "close"},
        "tw": {"trade_unit": 1000, "limit_threshold": 0.1, "deal_price": "close"},
    }
)
# qlib.backtest: of its Exchange and of `backtest`.
_COSTS = {"open_cost": 0.0015, "close_cost": 0.0025, "min_cost": 5.0}
_ACCOUNT = 1e9
_FIELD = re.compile(r"\$?[A-Za-z_]\w*")


def portfolio_of(workflow: Node, notes: list[str]) -> dict[str, Any] | None:
    """Return the keys of ``evaluation.portfolio``; None where the workflow has none, or another strategy.

    Raises:
        ConfigError: When the region is unknown, a cost stands in two places with two values, or a price or limit has no
            counterpart.
    """
    analysis = workflow.maybe("port_analysis_config")
    if not analysis.content:
        return None
    strategy, backtest = analysis.child("strategy"), analysis.maybe("backtest")
    notes += analysis.left_over(("strategy", "backtest"), "no counterpart")
    given = strategy.maybe("kwargs")
    notes += given.left_over((*_OF_STRATEGY, "signal", "model", "dataset"), "no counterpart")
    notes += backtest.left_over((*_OF_BACKTEST, *_OF_EXCHANGE), "no counterpart")
    if backtest.content.get("benchmark", workflow.content.get("benchmark")) != workflow.content.get("benchmark"):
        notes.append(f"{backtest.path}.benchmark={backtest.code('benchmark')}: data.benchmark is the workflow's own")
    if strategy.text("class") != "TopkDropoutStrategy" or not strategy.of_qlib():
        module = "" if strategy.of_qlib() else f" of {strategy.content['module_path']}"
        notes.append(f"{strategy.path}.class={strategy.text('class')}{module}: ours is qlib's TopkDropoutStrategy")
        return None
    found = {key: given.content[key] for key in _OF_STRATEGY if key in given.content}
    account = backtest.content.get("account", _ACCOUNT)
    if isinstance(account, bool) or not isinstance(account, int | float):
        raise ConfigError("The account is money.", where=backtest.where("account"), got=account, expected="a number")
    return {**found, "account": float(account), **_exchange(workflow, backtest, notes)}


def _exchange(workflow: Node, backtest: Node, notes: list[str]) -> dict[str, Any]:
    """Return the rules and costs of the exchange, from either place where versions of qlib have them."""
    inner = backtest.maybe("exchange_kwargs")
    notes += inner.left_over(_OF_EXCHANGE, "no counterpart")
    region = _region(workflow)
    found: dict[str, Any] = {**_COSTS, **region}
    for key in _OF_EXCHANGE:
        places = [node for node in (inner, backtest) if key in node.content]
        if len(places) == 2 and inner.content[key] != backtest.content[key]:
            raise ConfigError(
                f"`{key}` stands in two places with two values.",
                where=backtest.where(key),
                got=f"{backtest.content[key]} and, in exchange_kwargs, {inner.content[key]}",
                expected="one of them",
            )
        for node in places[:1]:
            found[key] = _value(node, key)
    if found["limit_threshold"] is None:
        found["limit_threshold"] = region["limit_threshold"]  # as qlib does: null is the region's
    if found["deal_price"] is None:
        found["deal_price"] = region["deal_price"]
    return found


def _region(workflow: Node) -> Mapping[str, Any]:
    init = workflow.child("qlib_init")
    name = str(init.content.get("region") or "cn").lower()
    if name not in _REGIONS:
        raise ConfigError(
            "Unknown region.",
            where=init.where("region"),
            got=name,
            expected=", ".join(_REGIONS),
            hint=closest(name, _REGIONS) or "write trade_unit, limit_threshold and deal_price into exchange_kwargs",
        )
    return _REGIONS[name]


def _value(node: Node, key: str) -> Any:
    value = node.content[key]
    if key == "deal_price":
        return _deal_price(node, value)
    if isinstance(value, list | Mapping):
        raise ConfigError(
            f"`{key}` is one number here.", where=node.where(key), got=value, expected="a number, or null"
        )
    return value


def _deal_price(node: Node, value: Any) -> Any:
    prices = set(value) if isinstance(value, list) else {value}
    one = next(iter(prices)) if len(prices) == 1 else None
    if value is not None and (not isinstance(one, str) or not _FIELD.fullmatch(one)):
        raise ConfigError(
            "Orders are filled at one field of the data here.",
            where=node.where("deal_price"),
            got=value,
            expected="one field for purchases and sales, such as close, open or vwap",
        )
    return None if one is None else one.removeprefix("$")

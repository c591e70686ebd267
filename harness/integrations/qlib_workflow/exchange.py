"""qlib's strategy, account and exchange as our portfolio: its region's rules and its own defaults written out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from harness.errors import ConfigError, closest
from harness.integrations.qlib_workflow.workflow import Node

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

    Raises
    ------
    ConfigError
        When the region is unknown, a cost stands in two places with two values, or a price or limit has no counterpart.
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

"""`bench predict`: the newest scores of a configuration, and the orders that follow from them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from harness.audit.audited import run_audited
from harness.cli.composed import config_of
from harness.cli.declaration import Answer
from harness.errors import ConfigError
from harness.evaluation.portfolio.backtest import PlannedOrder, planned_orders
from harness.execution.progress import PlainObserver
from harness.report.table import Table, numbers, table
from harness.run.pipeline import Pipeline


def predict(arguments: Namespace, observer: PlainObserver) -> Answer:
    if arguments.top is not None and arguments.top < 1:
        raise ConfigError("Nothing would be shown.", where="--top", got=arguments.top, expected="at least 1")
    config = config_of(arguments)
    result, _ = run_audited(config, observer)
    predictions, strategy = result.predictions(), config.evaluation.portfolio
    (time, scores), at = predictions.newest(), predictions.newest_at
    orders, note, panel = None, None, Pipeline(config).panel
    # A calendar may go on where the data end; but where prices do, these scores, and orders by them, are too late.
    later = at + 1 + np.flatnonzero(panel.traded[at + 1 :].any(axis=1))
    if later.size:
        traded, members = predictions.calendar.format(int(later[-1])), panel.membership[int(later[-1])]
        why = "" if members.any() else ": nobody is a member of the universe by then"
        lacking = "" if strategy is None else "no orders: "
        note = f"{lacking}prices reach {traded}, and nobody has a score after {time}{why}"
    elif strategy is not None:
        orders = planned_orders(panel, predictions.until(at + 1), strategy)
    window = next(window for window in result.windows if at < window.test.stop)
    record = {
        "time": time,
        "window": window.index,
        "decision": predictions.calendar.format(window.decision),
        "scores": [{"instrument": name, "score": score} for name, score in scores],
        "orders": None if orders is None else [asdict(order) for order in orders],
        "note": note,
        "folder": str(result.folder),
    }
    shown: list[Table | str] = [_scores_table(time, scores, arguments.top)]
    shown += [] if orders is None else [_orders_table(orders)]
    shown += [] if note is None else [note]
    shown.append(f"model     fitted at the close of {record['decision']}, window {window.index}")
    shown.append(f"snapshot  {result.folder / 'snapshot.json'}")
    return Answer(shown, record)


def _scores_table(time: str, scores: Sequence[tuple[str, float]], top: int | None) -> Table:
    rows = [(str(rank), name, f"{score:.6g}") for rank, (name, score) in enumerate(scores[:top], 1)]
    left = len(scores) - len(rows)
    below = [f"and {left} more: --top {len(scores)} or --json shows them"] if left else []
    return table(
        f"scores at the close of {time}", (*numbers("rank"), "instrument", *numbers("score")), rows, below=below
    )


def _orders_table(orders: Sequence[PlannedOrder]) -> Table:
    rows = [(o.side, o.instrument, f"{o.shares:,.2f}", f"{o.price:.6g}", f"{o.value:,.0f}") for o in orders]
    below = ["at the last close, in adjusted shares; before lots, costs and what the exchange refuses"] if rows else []
    title = f"{len(rows)} orders for the next time"
    return table(title, ("side", "instrument", *numbers("shares", "last close", "value")), rows, below=below)

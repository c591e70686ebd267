"""What `make bench` shows: four cells that only their size tells from the defaults, and none of them refused."""

from __future__ import annotations

import re
from pathlib import Path

from harness.config import compose_config
from harness.run.pipeline import settings_of
from harness.run.sweep import plan_sweep
from harness.store.records import describe

ROOT = Path(__file__).resolve().parents[2]
SMALLER = {
    **{"windows.split": [0.64, 0.2, 0.16], "data.instruments": 80, "data.members": 60, "data.days": 1000},
    **{"model.num_boost_round": 20, "adaptation.choice_gbdt.rounds": 20},
}


def flat(node: object, path: str = "") -> dict[str, object]:
    if not isinstance(node, dict):
        return {path: node}
    found: dict[str, object] = {}
    for name, value in node.items():
        found |= flat(value, f"{path}.{name}" if path else str(name))
    return found


def test_the_first_table_differs_from_the_full_sweep_in_size_only() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    first, full = (
        re.search(rf"^{target}: .*\n\t\$\(BIN\)/bench run -m (.*)$", makefile, re.MULTILINE)
        for target in ("bench", "sweep")
    )
    assert first is not None
    assert full is not None
    cells, whole = plan_sweep(first[1].split()), plan_sweep(full[1].split())
    groups = [{key: cell.chosen[key] for key in ("model", "adaptation")} for cell in cells]
    assert groups == [cell.chosen for cell in whole]
    assert len(cells) == 4
    changed: dict[str, object] = {}
    for cell, other in zip(cells, whole, strict=True):
        assert cell.config is not None
        assert other.config is not None
        ours, theirs = (
            flat({**settings_of(config), "data": describe(config.data)}) for config in (cell.config, other.config)
        )
        assert ours.keys() == theirs.keys()
        changed |= {key: ours[key] for key in ours if ours[key] != theirs[key]}
    assert changed == SMALLER


def test_the_market_of_the_first_table_has_what_the_adaptation_asks_for() -> None:
    config = compose_config(["experiment=quick", "adaptation=ddgda"])
    settings = flat(settings_of(config))
    assert int(SMALLER["data.members"]) > int(str(settings["adaptation.loss_skip_thresh"]))  # type: ignore[call-overload]

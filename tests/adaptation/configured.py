"""The configuration files of the adaptations, with some keys changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from baselines.adaptation.ddgda.adaptation import DDGDA
from harness.config.instantiate import build

CONF = Path(__file__).resolve().parents[2] / "conf" / "adaptation"

# Streams have few and clean features: take all as they are.
PLAIN = {
    "_target_": "harness.preprocess.Pipeline",
    "features": [],
    "label": [{"_target_": "harness.preprocess.CSRankNorm"}],
    "refit": "once",
}
ON_STREAMS = {"fea_imp_n": None, "preprocess": PLAIN, "sim_preprocess": None, "segments": None, "loss_skip_thresh": 10}


def configured(name: str, **changes: Any) -> Any:
    """Return what conf/adaptation/<name>.yaml describes, with `changes`."""
    return build({**_node(name), **changes}, "adaptation")


def _node(name: str) -> dict[str, Any]:
    node = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(node, dict)
    below = [_node(base) for base in node.pop("defaults", []) if base != "_self_"]
    return {str(key): value for level in (*below, node) for key, value in level.items()}


def ddgda(name: str = "ddgda", **changes: Any) -> DDGDA:
    """Return a DDG-DA fit for streams."""
    adaptation = configured(name, **{**ON_STREAMS, **changes})
    assert isinstance(adaptation, DDGDA)
    return adaptation

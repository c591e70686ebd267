"""The configuration tree on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.instantiate import join_key

__all__ = ["config_folder", "known_keys"]


def config_folder() -> Path:
    """Return the folder of the configuration tree: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


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

"""Where the configuration tree stands; apart from what composes it, so that a help text can list it at once."""

from __future__ import annotations

from pathlib import Path


def config_folder() -> Path:
    """Return the folder of the configuration tree: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"

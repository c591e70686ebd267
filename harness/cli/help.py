"""The configuration groups as help text."""

from __future__ import annotations

from harness.config import config_folder

__all__ = ["config_groups"]

# Folders of the tree that other commands read: they are no Hydra groups.
_NOT_GROUPS = ("regression", "suites")


def config_groups() -> str:
    """Return the configuration groups with their choices, as help text."""
    root = config_folder()
    lines = ["configuration groups (GROUP=CHOICE, or GROUP.KEY=VALUE for one value; `bench run --cfg` shows all keys):"]
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name not in _NOT_GROUPS):
        choices = sorted(p.stem for p in folder.glob("*.yaml"))
        if choices:
            lines.append(f"  {folder.name:<12} {' | '.join(choices)}")
    return "\n".join(lines)

"""The configuration groups as help text."""

from __future__ import annotations

from harness.store.config_folder import config_folder

# Folders of the tree that other commands read: they are no Hydra groups.
OTHER_FOLDERS = ("regression", "suites")


def group_choices() -> dict[str, list[str]]:
    """Return configuration group → its choices, both sorted."""
    folders = sorted(p for p in config_folder().iterdir() if p.is_dir() and p.name not in OTHER_FOLDERS)
    found = {folder.name: sorted(p.stem for p in folder.glob("*.yaml")) for folder in folders}
    return {name: choices for name, choices in found.items() if choices}


def config_groups() -> str:
    """Return the configuration groups with their choices, as help text."""
    lines = [
        "configuration groups (GROUP=CHOICE, or GROUP.KEY=VALUE for one value; `bench config --describe` all keys):"
    ]
    lines += [f"  {name:<12} {' | '.join(choices)}" for name, choices in group_choices().items()]
    return "\n".join(lines)

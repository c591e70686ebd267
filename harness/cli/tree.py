"""The commands as a tree, for what concerns all of them."""

from __future__ import annotations

import argparse

Path = tuple[str, ...]


def leaves(parser: argparse.ArgumentParser, path: Path = ()) -> dict[Path, argparse.ArgumentParser]:
    """Return path → parser of every command that can be run, such as ``("data", "info")``, in the order of the help."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return {path: parser}
    found: dict[Path, argparse.ArgumentParser] = {}
    for group in groups:
        for name, child in group.choices.items():
            found |= leaves(child, (*path, name))
    return found

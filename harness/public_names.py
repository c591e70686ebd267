"""What a class is called in a snapshot and in a configuration: a name that stays when its file moves.

The root package of a class may list names in a mapping ``PUBLIC_NAMES``: public name → module that holds the class now,
and in ``FORMER_MODULES``: a module that earlier versions recorded → the public module. A class that is not listed is
called after its own module. Moving a file changes one line here and no snapshot.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["TARGET", "module_of", "public_name", "with_public_names"]

TARGET = "_target_"


def public_name(cls: type) -> str:
    """Return what a class is called wherever it is recorded."""
    own = f"{cls.__module__}.{cls.__qualname__}"
    names = _table(cls.__module__, "PUBLIC_NAMES")
    return next((name for name, module in names.items() if f"{module}.{name.rpartition('.')[2]}" == own), own)


def module_of(name: str) -> str:
    """Return the module that holds the class of a public, former or plain dotted name."""
    current = _current(name)
    return _table(current, "PUBLIC_NAMES").get(current, current.rpartition(".")[0])


def with_public_names(recorded: Any) -> Any:
    """Return a record whose every ``_target_`` has today's public name, so that old records stay comparable."""
    if isinstance(recorded, Mapping):
        return {
            k: _current(v) if k == TARGET and isinstance(v, str) else with_public_names(v) for k, v in recorded.items()
        }
    return [with_public_names(v) for v in recorded] if isinstance(recorded, list) else recorded


def _current(name: str) -> str:
    module, _, cls = name.rpartition(".")
    public = f"{_table(name, 'FORMER_MODULES').get(module, module)}.{cls}"
    return public if public in _table(name, "PUBLIC_NAMES") else name


def _table(name: str, table: str) -> Mapping[str, str]:
    """Return a table of the root package of a dotted name; empty where it has none or cannot be imported."""
    root = name.partition(".")[0]
    if root not in sys.modules:
        if root not in ("harness", "baselines"):
            return {}
        importlib.import_module(root)
    found = getattr(sys.modules[root], table, None)
    return found if isinstance(found, Mapping) else {}

"""Names and texts as MLflow accepts them."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")
LONGEST_NAME, LONGEST_VALUE, LONGEST_TAG = 250, 500, 5000
_REFUSED = re.compile(r"[^\w\-. :/]", flags=re.ASCII)


def accepted(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the same values under names that MLflow accepts, still all different.

    MLflow takes ASCII letters, digits and ``_ - . space : /``, at most 250 of them, and nothing that reads as a path
    with ``..``, an empty part, or a beginning at the root.
    """
    found: dict[str, Value] = {}
    for name, value in values.items():
        safe = _REFUSED.sub("_", name)[:LONGEST_NAME]
        if safe != posixpath.normpath(safe) or safe.startswith(("/", "..")) or safe == ".":
            safe = safe.replace("/", "_").replace("..", "__").replace(".", "_") or "_"
        number, free = 2, safe
        while free in found:
            free, number = f"{safe[: LONGEST_NAME - 8]}_{number}", number + 1
        found[free] = value
    return found


def flat(node: object, path: str = "") -> dict[str, str]:
    """Return a described configuration as dotted key → text; an object's class stands under the object's own key."""
    if not isinstance(node, Mapping):
        return {path: shortened(node if isinstance(node, str) else json.dumps(node, ensure_ascii=False))}
    found: dict[str, str] = {}
    for key, value in node.items():
        inner = path if key == "_target_" and path else ".".join(filter(None, (path, str(key))))
        found |= flat(value, inner)
    return found


def shortened(text: str, longest: int = LONGEST_VALUE) -> str:
    """Return the text, cut with an ellipsis where it is longer than a server takes."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

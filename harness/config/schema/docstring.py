"""What a docstring in numpy's style says about each name."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", flags=re.MULTILINE)
_SECTIONS = ("Attributes", "Parameters")


def meanings(cls: type) -> dict[str, str]:
    """Return name → meaning, as one line, from the sections ``Attributes`` and ``Parameters``.

    Names that share an entry, such as ``low, high``, share its meaning. None is written as YAML writes it.
    """
    titles = _SECTION.split(inspect.getdoc(cls) or "")
    found: dict[str, str] = {}
    for title, body in zip(titles[1::2], titles[2::2], strict=True):
        if title in _SECTIONS:
            found |= _entries(body)
    return found


def summary(cls: type) -> str:
    """Return the first paragraph of a class's docstring as one line."""
    return _line((inspect.getdoc(cls) or "").partition("\n\n")[0])


def _entries(body: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in re.split(r"^(?=\S)", body, flags=re.MULTILINE):
        names, _, text = entry.partition("\n")
        found |= dict.fromkeys((name.strip() for name in names.split(":")[0].split(",")), _line(text))
    return {name: text for name, text in found.items() if name and text}


def _line(text: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(text.split()).replace("``", "`"))

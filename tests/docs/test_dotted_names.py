"""What the pages and the configuration call a module or a class is one."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import baselines
import harness
from tests.docs.blocks import ROOT, pages

PLACES = [ROOT / "CONTRIBUTING.md", *pages(), *sorted((ROOT / "conf").rglob("*.yaml")), *sorted(ROOT.glob("*.toml"))]
NAME = re.compile(r"(?<![\w./-])(?:harness|baselines)(?:\.\w+)+")
FILE = re.compile(r"(?<![\w./-])(?:harness|baselines|tests|conf)(?:/[\w-]+)+(?:/|\.(?:py|yaml|md))(?![\w*{])")
PUBLIC = {*harness.PUBLIC_NAMES, *baselines.PUBLIC_NAMES}


def leads_somewhere(name: str) -> bool:
    parts = name.split(".")
    for at in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:at]))
        except ModuleNotFoundError as error:
            if error.name is not None and not name.startswith(error.name):
                return True  # a library that is not installed
            continue
        for attribute in parts[at:]:
            if not hasattr(found, attribute):
                return attribute in getattr(found, "__annotations__", {})
            found = getattr(found, attribute)
        return True
    return False


@pytest.mark.parametrize("place", PLACES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dotted_names_and_paths_lead_somewhere(place: Path) -> None:
    text = place.read_text(encoding="utf-8")
    names = {name.removesuffix(".py") for name in NAME.findall(text)} - PUBLIC
    assert not [name for name in sorted(names) if not leads_somewhere(name)]
    assert not [file for file in sorted(set(FILE.findall(text))) if "NAME" not in file and not (ROOT / file).exists()]

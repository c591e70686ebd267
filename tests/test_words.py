"""Names are the field's terms: none of the words that STYLE leaves out stands in a name that we define."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_import_floors import SOURCES, module_name

# Word → what to say instead.
LEFT_OUT = {
    **dict.fromkeys(("shelf", "shelves", "stash"), "memory cache, cache, store"),
    **dict.fromkeys(("piece", "pieces", "wave", "waves"), "dispatch, pipeline, subtask, batch"),
    **dict.fromkeys(("artefact", "artefacts"), "artifact, fit record"),
    **dict.fromkeys(
        ("dealt", "futures", "foretold", "twin", "twins"), "permuted labels, counterfactual, leaky variant"
    ),
    **dict.fromkeys(("turn", "turns", "era", "eras", "profile", "profiles"), "refresh, regime, flags"),
    **dict.fromkeys(("rtype", "reweighter", "rid"), "window kind, adaptation, snapshot"),
}
# Keys of files that users have on disk, and of configurations.
KEPT = {"ARTEFACTS", "profile"}


def words_of(name: str) -> list[str]:
    """Return the words of a name in snake case or camel case, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def defined_names(path: Path) -> Iterator[str]:
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_name_says_a_word_that_is_left_out(path: Path) -> None:
    found = {
        name: LEFT_OUT[word]
        for name in defined_names(path)
        for word in words_of(name)
        if word in LEFT_OUT and name not in KEPT
    }
    assert not found, f"say instead: {found}"


def test_the_words_of_a_name_are_found() -> None:
    assert words_of("LeakyTwins") == ["leaky", "twins"]
    assert words_of("_read_artefacts2") == ["read", "artefacts", "2"]
    assert words_of("HTMLPage") == ["html", "page"]
    assert "turn" not in words_of("turnover_return")

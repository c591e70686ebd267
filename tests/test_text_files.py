"""Text is UTF-8 with LF on every system and under every locale: no file is opened by the locale's encoding."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("harness", "baselines", "examples") for path in (ROOT / folder).rglob("*.py"))
READS, WRITES = {"read_text"}, {"write_text"}
MODES = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile"}
PROCESSES = {"run", "Popen", "call", "check_call", "check_output"}


def by_locale(tree: ast.AST) -> list[int]:
    """Return the lines of calls that read or write text without saying how."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg for keyword in node.keywords}
        texts = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
        is_text = any(isinstance(text, str) and text in ("r", "w", "a", "x", "r+", "w+", "rt", "wt") for text in texts)
        is_process = name in PROCESSES and "text" in given
        needed = {"encoding"} if name in READS or (name in MODES and is_text) or is_process else set()
        needed |= {"encoding", "newline"} if name in WRITES else set()
        if needed - given:
            found.append(node.lineno)
    return found


def test_no_text_file_is_opened_by_the_encoding_of_the_locale() -> None:
    found = {str(path.relative_to(ROOT)): by_locale(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert len(found) > 150
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_such_calls_are_found() -> None:
    code = (
        "p.read_text()\np.write_text(t, encoding='utf-8')\nopen(p, 'w')\np.open('rb')\nos.open(p, 1)\nrun(c, text=True)"
    )
    assert by_locale(ast.parse(code)) == [1, 2, 3, 6]

"""The size of the house: ``python -m tests.house`` prints entries, floors, files, lines and functions."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.test_import_floors import FLOORS, ROOT, SOURCES

__all__ = ["figures", "main"]


def figures() -> dict[str, float]:
    """Return figure → number for the source in `harness/` and `baselines/`, every line of every file counted."""
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    lengths = [text.count("\n") for text in texts]
    functions = [length for text in texts for length in _functions(ast.parse(text))]
    return {
        "entries in harness/": len([p for p in (ROOT / "harness").iterdir() if p.name != "__pycache__"]),
        "floors": len(FLOORS),
        "files": len(SOURCES),
        "lines": sum(lengths),
        "median file": statistics.median(length for length in lengths if length > 1),
        "longest file": max(lengths),
        "functions": len(functions),
        "median function": statistics.median(functions),
        "p90 function": float(np.percentile(functions, 90)),
        "longest function": max(functions),
    }


def _functions(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of every function, from its ``def`` on, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
            said = 0 if docstring is None else int(docstring.end_lineno or 0) - docstring.lineno + 1
            yield int(node.end_lineno or 0) - node.lineno + 1 - said


def main(root: Path = ROOT) -> None:
    """Print the figures, and the lines of every package."""
    for name, number in figures().items():
        print(f"{name:20} {number:>8,g}")  # noqa: T201
    packages = sorted({path.relative_to(root).parts[:2] for path in SOURCES if len(path.relative_to(root).parts) > 2})
    for package in packages:
        held = [path for path in SOURCES if path.relative_to(root).parts[:2] == package]
        lines = sum(path.read_text(encoding="utf-8").count("\n") for path in held)
        print(f"{'/'.join(package):28} {len(held):>4} files {lines:>7,} lines")  # noqa: T201


if __name__ == "__main__":
    main()

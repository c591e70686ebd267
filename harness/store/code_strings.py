"""What the text of a user's module names beside it: data files that it reads, and code that it finds as it runs.

A cached result must not outlive the constants that its code reads from a file. Which files a program opens cannot be
known before it runs, but their names stand in its text: every string of the module that names a file beside it is taken
for a file that it reads. That errs on the safe side: a file that is named and never read costs a computation.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FINDS_CODE = ("import_module", "__import__", "exec", "eval", "compile", "run_module", "run_path", "__getattr__")
_LISTS = ("glob", "rglob", "iterdir", "listdir", "scandir", "walk", "iter_modules", "walk_packages")
_WRITES = ("write_text", "write_bytes", "touch", "unlink", "mkdir", "makedirs", "remove", "FileHandler")
_MODES = frozenset(mode + kind for mode in ("a", "w", "x", "a+", "w+") for kind in ("", "b", "t"))
_NOT_READ = (".log", ".pyc", ".tmp", ".lock")
_LONGEST = 200
_ANCESTORS = 3  # `Path(__file__).parents[2]`
_HIDDEN = (".", "__pycache__")
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)


@dataclass(frozen=True)
class Strings:
    """The strings of a module.

    Attributes
    ----------
    texts
        Every string that may name a file or a folder, pieces of f-strings among them, without those of statements that
        write.
    modules
        Strings that may name a module, where the module finds code as it runs.
    code
        Strings that may be code, where the module runs some.
    package
        Whether any module of its own package may be imported by a computed name.
    lists
        Whether it lists what a folder holds.
    """

    texts: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    package: bool = False
    lists: bool = False


@lru_cache(maxsize=1024)
def strings_of(source: bytes) -> Strings:
    """Return the strings of a module's source; none of one that is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Strings()  # whoever imports it says so better
    used = {_name(node) for node in ast.walk(tree)}
    statements = list(_simple(tree))
    written = _written(statements)
    finds = any(name in used for name in _FINDS_CODE)
    every = sorted({text for _, part in statements for text in _texts(part)})
    read = {text for scope, part in statements if _is_read(scope, part, written) for text in _texts(part)}
    return Strings(
        texts=tuple(text for text in sorted(read) if len(text) <= _LONGEST and not {"\n", "\0"} & set(text)),
        modules=tuple(text for text in every if finds and text.lstrip(".").replace(".", "").isidentifier()),
        code=tuple(text for text in every if finds and "import" in text),
        package="import_module" in used or "__import__" in used,
        lists=any(name in used for name in _LISTS),
    )


def named_folders(file: Path, strings: Strings) -> tuple[Path, ...]:
    """Return the folders that a module's strings name, its own first, without those above it."""
    return tuple(_folders(file, strings)[0])


def named_files(file: Path, strings: Strings) -> tuple[Path, ...]:
    """Return the files that the strings of a module name, sorted.

    They are sought in the module's folder, in folders below it or above it that other strings name, and by a whole
    name in the working folder. `".json"` names every such file beside the module, `"*.json"` what it matches, and
    where the module lists folders a folder's name stands for all that it holds.
    """
    near, above = _folders(file, strings)
    found: set[Path] = set()
    for folder in (*near, *above, Path.cwd()):
        found |= {folder / text for text in strings.texts if _is_file(folder / text)}
    for folder in near:
        found |= set(_matching(folder, strings.texts))
    if strings.lists:
        for folder in near[1:]:
            found |= set(_held(folder))
    own = file.absolute()
    kept = {Path(os.path.abspath(path)) for path in found if path.suffix not in _NOT_READ}
    return tuple(sorted(kept - {own}))


def _folders(file: Path, strings: Strings) -> tuple[list[Path], list[Path]]:
    """Return the module's folder with those that strings name in it or above it, and the folders above."""
    above = list(file.absolute().parents)[1 : 1 + _ANCESTORS]
    near = [file.absolute().parent]
    for folder in (at for at in (*near, *above)):
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            below = [at / text for text in strings.texts if text.strip("./") and _is_folder(at / text)]
            waiting += [path for path in below if path not in near]
            near += [path for path in below if path not in near]
    return near, above


def _matching(folder: Path, texts: Iterable[str]) -> Iterator[Path]:
    for text in texts:
        if "*" in text and not text.startswith("/"):
            try:
                yield from (path for path in folder.glob(text) if path.is_file())
            except (ValueError, OSError, NotImplementedError):
                continue  # an asterisk in a text that is no pattern
        elif text.startswith(".") and text[1:].isalnum() and text != ".py":
            yield from (path for path in folder.glob(f"*{text}") if path.is_file())


def _held(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        yield from (Path(place, name) for name in names if not name.startswith(_HIDDEN))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # a text too long for a name


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not path.name.startswith(_HIDDEN)
    except (OSError, ValueError):
        return False


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.alias):
        return node.name.rpartition(".")[2]
    return getattr(node, "attr", getattr(node, "id", None))


def _simple(tree: ast.AST, scope: int = 0) -> Iterator[tuple[int, list[ast.AST]]]:
    """Yield the expressions of every statement, without those of the statements inside it, and whose scope it is."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            parts = [part for part in ast.iter_child_nodes(node) if not isinstance(part, _BLOCKS)]
            yield scope, [each for part in parts for each in ast.walk(part)]
        if isinstance(node, _BLOCKS):
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _simple(node, id(node) if inside else scope)


def _texts(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            yield node.value


def _writes(nodes: list[ast.AST]) -> bool:
    modes = any(text in _MODES for text in _texts(nodes))
    return any((name := _name(node)) in _WRITES or (name == "open" and modes) for node in nodes)


def _written(statements: list[tuple[int, list[ast.AST]]]) -> set[tuple[int, str]]:
    """Return the names, by scope, that hold a file that is written: ``log.open("a")``, ``open(log, "a")``."""
    names = {
        (scope, node.id)
        for scope, part in statements
        if _writes(part)
        for call in part
        if isinstance(call, ast.Call) and (_writes([call.func]) or _name(call.func) == "open")
        for node in (getattr(call.func, "value", None), *call.args[:1])
        if isinstance(node, ast.Name)
    }
    return names | {(0, name) for _, name in names if name.isupper()}  # a constant of the module, used in a function


def _is_read(scope: int, nodes: list[ast.AST], written: set[tuple[int, str]]) -> bool:
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return not _writes(nodes) and not any((scope, name) in written for name in stored)

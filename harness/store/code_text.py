"""What the text of a module says: what it is as Python parses it, what it imports, and what its strings name."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import cache_from_source
from itertools import accumulate, product
from pathlib import Path, PurePath
from typing import Any

_IMPORTS = ("import_module", "__import__")
_FINDS_CODE = (*_IMPORTS, "exec", "eval", "compile", "run_module", "run_path", "__getattr__")
_LISTS = ("glob", "rglob", "iterdir", "listdir", "scandir", "walk", "iter_modules", "walk_packages")
_WRITES = ("write_text", "write_bytes", "touch", "unlink", "mkdir", "makedirs", "remove", "FileHandler")
_OPENERS = ("open", "ZipFile", "TarFile", "GzipFile", "BZ2File", "LZMAFile")
_MODES = frozenset(mode + kind for mode in ("a", "w", "x", "a+", "w+") for kind in ("", "b", "t"))
_NOT_READ = (".log", ".pyc", ".tmp", ".lock")
STAR = ".*"  # ends a name that stands for every module of a package
_LONGEST = 200
_ANCESTORS = 3  # `Path(__file__).parents[2]`
_HIDDEN = (".", "__pycache__")
_OF_TOOLS = frozenset({".bench", ".git", ".venv", "__pycache__"})
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_MOST_NOTES = 1000  # about other texts than this process has read
Parts = list[ast.AST]  # the expressions of a statement, without those of the statements inside it


def _parsed(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None  # whoever imports it says so better


@lru_cache(maxsize=1024)
def text_digest(source: bytes) -> str:
    """Return the SHA-256 of a module's parsed tree without docstrings: comments and layout run nothing.

    What is no Python text, an extension or an archive's member in another encoding, counts byte for byte.
    """
    return _digest_of(_parsed(source), source)


def _digest_of(tree: ast.Module | None, source: bytes) -> str:
    # The docstrings of the tree are gone afterwards.
    if tree is None:
        return hashlib.sha256(source).hexdigest()
    for node in ast.walk(tree) if b"__doc__" not in source else ():
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode(errors="surrogatepass")).hexdigest()


@lru_cache(maxsize=4096)
def imports_of(name: str, is_package: bool, source: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that a module imports when it is run, and with those inside its functions.

    A name may be a module's or that of something inside one: only the search path can tell.
    """
    return _imports_in(_parsed(source), name, is_package, source)


@lru_cache(maxsize=4096)
def imports_and_digest(
    name: str, is_package: bool, source: bytes
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], str]:
    """Return `imports_of` and `text_digest` of a module; parsing it takes longest, and is done once for both.

    Once for all processes, where it can be noted, see `keep_notes`.
    """
    notes, asked = _notes(), f"{name} {is_package} {hashlib.sha256(source).hexdigest()}"
    if asked not in notes.known:
        tree = _parsed(source)
        notes.known[asked] = [*_imports_in(tree, name, is_package, source), _digest_of(tree, source)]
        notes.new.add(asked)
    when_run, when_called, digest = notes.known[asked]
    return (tuple(when_run), tuple(when_called)), digest


@dataclass(frozen=True, eq=False)
class _Notes:
    """What texts say, by their names and SHA-256, as earlier processes have noted it; `new`: not noted yet."""

    known: dict[str, list[Any]]
    new: set[str]


def _notes_file() -> Path:
    """Return the file beside the compiled modules, which are trusted as much."""
    return Path(cache_from_source(__file__)).with_suffix(".json")


@cache
def _reader() -> str:
    """Return what identifies the code that reads a text; notes of another one do not count."""
    return f"{sys.version} {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"


@cache
def _notes() -> _Notes:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError):
        found = json.loads(_notes_file().read_bytes())
        if found["reader"] == _reader():
            return _Notes(dict(found["texts"]), set())
    return _Notes({}, set())


def keep_notes() -> None:
    """Note what texts say for later processes, where a file can be written beside the compiled modules."""
    notes = _notes()
    if not notes.new:
        return
    known = notes.known if len(notes.known) <= _MOST_NOTES + len(notes.new) else {n: notes.known[n] for n in notes.new}
    notes.new.clear()
    with suppress(OSError, NotImplementedError):
        file = _notes_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{file.name}-{secrets.token_hex(6)}")
        try:
            scratch.write_text(json.dumps({"reader": _reader(), "texts": known}), encoding="utf-8", newline="\n")
            scratch.replace(file)
        finally:
            scratch.unlink(missing_ok=True)


def _imports_in(
    tree: ast.Module | None, name: str, is_package: bool, source: bytes
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if tree is None:
        return (), ()
    package = name if is_package else name.rpartition(".")[0]
    found: dict[str, bool] = {}  # name → whether it is imported when the module is run
    for node, scope in _statements(tree):
        for imported in _imported(node, package):
            found[imported] = found.get(imported, False) or scope == 0
    if any(call.encode() in source for call in _IMPORTS):
        found |= dict.fromkeys(_called(tree, package), True)
    found.pop("", None)
    return tuple(each for each, when_run in found.items() if when_run), tuple(found)


def _imported(node: ast.stmt, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            # `import a.b` gives the name `a`, and with it whatever stands in it.
            yield from [alias.name] if alias.asname else packages_of(alias.name)
    elif isinstance(node, ast.ImportFrom):
        base = absolute("." * node.level + (node.module or ""), package)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _called(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the modules of ``importlib.import_module("literal")`` and ``__import__("literal")``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _IMPORTS:
            given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "name")]
            literal, anchor = [*(getattr(each, "value", None) for each in given[:2]), None, None][:2]
            if isinstance(literal, str):
                yield absolute(literal, anchor if isinstance(anchor, str) else package)


def packages_of(name: str) -> list[str]:
    """Return the packages around a dotted name, the outermost first, and the name."""
    return list(accumulate(name.split("."), "{}.{}".format))


def absolute(name: str, package: str) -> str:
    """Return a module's name as seen from a package, where leading dots are steps up."""
    level = len(name) - len(name.lstrip("."))
    parts = package.split(".")
    return f"{'.'.join(parts[: len(parts) - level + 1])}.{name[level:]}".strip(".") if level else name


def _statements(tree: ast.AST, scope: int = 0) -> Iterator[tuple[ast.stmt, int]]:
    """Yield every statement at any depth that may run, and its function's identity; 0 outside of functions."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        if name == "body" and isinstance(tree, ast.If) and _name(tree.test) == "TYPE_CHECKING":
            continue
        for node in getattr(tree, name, ()):
            if isinstance(node, ast.stmt):
                yield node, scope
            yield from _statements(node, id(node) if isinstance(node, _FUNCTIONS) else scope)


def _name(node: ast.AST) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.alias):
        return node.name.rpartition(".")[2]
    return getattr(node, "attr", getattr(node, "id", None))


@dataclass(frozen=True)
class Strings:
    """The strings of a module."""

    # those that may name a file or a folder, pieces of f-strings too, without those of statements that write
    texts: tuple[str, ...] = ()
    # names that they may import as the module runs; ``PACKAGE.*`` where it computes a name
    modules: tuple[str, ...] = ()
    lists: bool = False  # whether it lists what a folder holds


@lru_cache(maxsize=1024)
def strings_of(name: str, is_package: bool, source: bytes) -> Strings:
    """Return the strings of a module's source; none of one that is no Python."""
    tree = _parsed(source)
    if tree is None:
        return Strings()
    used = {_name(node) for node in ast.walk(tree)}
    statements = [(scope, _parts(node)) for node, scope in _statements(tree)]
    written = _written(statements)
    read = {text for scope, parts in statements if _is_read(scope, parts, written) for text in _texts(parts)}
    texts = tuple(text for text in sorted(read) if len(text) <= _LONGEST and not {"\n", "\0"} & set(text))
    package = name if is_package else name.rpartition(".")[0]
    modules = [f"{package}{STAR}"] if package and not used.isdisjoint(_IMPORTS) else []
    every = {text for _, parts in statements for text in _texts(parts)} if not used.isdisjoint(_FINDS_CODE) else ()
    for text in sorted(every):
        modules += [absolute(text, package)] if text.lstrip(".").replace(".", "").isidentifier() else []
        modules += imports_of(name, is_package, text.encode(errors="replace"))[1] if "import" in text else ()
    return Strings(texts, tuple(each for each in modules if not each.startswith(".")), not used.isdisjoint(_LISTS))


def _parts(node: ast.stmt) -> Parts:
    own = (part for part in ast.iter_child_nodes(node) if not isinstance(part, _BLOCKS))
    return [each for part in own for each in ast.walk(part)]


def _texts(parts: Parts) -> Iterator[str]:
    return (n.value for n in parts if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value)


def _writes(parts: Parts) -> bool:
    modes = not _MODES.isdisjoint(_texts(parts))
    return any((name := _name(node)) in _WRITES or (name in _OPENERS and modes) for node in parts)


def _written(statements: list[tuple[int, Parts]]) -> set[tuple[int, str]]:
    """Return the names, by scope, that hold a file that is written: ``log.open("a")``, ``open(log, "a")``."""
    names = {
        (scope, node.id)
        for scope, parts in statements
        if _writes(parts)
        for call in parts
        if isinstance(call, ast.Call) and (_writes([call.func]) or _name(call.func) in _OPENERS)
        for node in (getattr(call.func, "value", None), *call.args[:1])
        if isinstance(node, ast.Name)
    }
    return names | {(0, name) for _, name in names if name.isupper()}  # a constant of the module, used in a function


def _is_read(scope: int, parts: Parts, written: set[tuple[int, str]]) -> bool:
    stored = {node.id for node in parts if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return not _writes(parts) and not any((scope, name) in written for name in stored)


def named_places(file: Path, strings: Strings) -> tuple[list[Path], list[Path]]:
    """Return the folders and the files that the strings of a module name: its own folder first, the files sorted.

    Folders are sought in its own and above it, files in all of these and by a whole name in the working folder.
    `".json"` names every such file beside the module, `"*.json"` what it matches, and where the module lists folders a
    folder's name stands for all that it holds. At the root of all folders lies what is the machine's: ``/lib``.
    """
    above = [folder for folder in file.absolute().parents[1 : 1 + _ANCESTORS] if folder.name]
    near = [file.absolute().parent]
    seen = set(map(os.path.realpath, near))  # "../data" is found in "../data" again, and a link may lead back
    shown = [text for text in strings.texts if text.strip("./") and not _is_of_tools(text)]
    for folder in (*near, *above):
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            for path in (at / text for text in shown):
                if os.path.isdir(path) and (place := os.path.realpath(path)) not in seen:
                    seen.add(place)
                    waiting.append(path)
                    near.append(path)
    found = {at / text for at in (*near, *above, Path.cwd()) for text in strings.texts}
    # Two asterisks at the end, as of Python's own operator, would stand for all that lies below.
    patterns = [text for text in strings.texts if "*" in text and not text.startswith("/") and text[-2:] != "**"]
    patterns += [f"*{text}" for text in strings.texts if text.startswith(".") and text[1:].isalnum() and text != ".py"]
    for folder, pattern in product(near, patterns):
        with suppress(ValueError, OSError, NotImplementedError):  # an asterisk in a text that is no pattern
            found |= {path for path in folder.glob(pattern) if not _is_of_tools(path.relative_to(folder))}
    found |= {path for folder in near[1:] if strings.lists for path in _held(folder)}
    kept = {Path(os.path.abspath(path)) for path in found if path.suffix not in _NOT_READ and os.path.isfile(path)}
    return near, sorted(kept - {file.absolute()})


def _is_of_tools(text: str | Path) -> bool:
    """Whether a folder on the way belongs to a tool, as the store does by default; a hidden one need not."""
    return not _OF_TOOLS.isdisjoint(PurePath(text).parts)


def _held(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        yield from (Path(place, name) for name in names if not name.startswith(_HIDDEN))

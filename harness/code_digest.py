"""The digest of the code that computes a result: its own source files and the versions of the libraries they import."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["code_digest", "library_versions", "own_modules"]

_OURS = ("harness", "baselines")


def code_digest(*modules: str) -> str:
    """Return the hex SHA-256 of everything that `modules` import, directly or not.

    Own source (this project's, and a user's outside the installed libraries) counts byte for byte; an installed
    library counts by its version, Python and the machine's architecture by theirs. So a cached result can never
    outlive the code that made it.
    """
    own, libraries = _closure(modules)
    digest = hashlib.sha256(f"{sys.version_info[:3]} {platform.machine()}\0".encode())
    for name, path in sorted(own.items()):
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    for name, version in sorted(library_versions(libraries).items()):
        digest.update(f"{name}=={version}\0".encode())
    return digest.hexdigest()


def own_modules(*modules: str) -> dict[str, Path]:
    """Return name → file of every own module that `modules` import, directly or not, themselves included."""
    return _closure(modules)[0]


def library_versions(top_level: frozenset[str]) -> dict[str, str]:
    """Return distribution → version of the installed libraries among the given top-level module names."""
    owners = _distributions()
    names = {owner for module in top_level for owner in owners.get(module, ())}
    return {name: _version(name) for name in sorted(names)}


@cache
def _distributions() -> dict[str, list[str]]:
    return {module: list(names) for module, names in importlib.metadata.packages_distributions().items()}


@cache
def _version(distribution: str) -> str:
    return importlib.metadata.version(distribution)


def _closure(modules: tuple[str, ...]) -> tuple[dict[str, Path], frozenset[str]]:
    own: dict[str, Path] = {}
    libraries: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in own:
            continue
        path = _own_source(name)
        if path is None:
            libraries.add(name.partition(".")[0])
            continue
        own[name] = path
        waiting.extend(_imports(path, name))
    return own, frozenset(libraries)


def _imports(path: Path, module: str) -> tuple[str, ...]:
    return _imports_of(path, module, path.read_bytes())


@cache
def _imports_of(path: Path, module: str, source: bytes) -> tuple[str, ...]:
    found = []
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _statements(ast.parse(source, filename=str(path))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{parent}.{base}".rstrip(".")
            found.append(base)
            found += [f"{base}.{alias.name}" for alias in node.names if _own_source(f"{base}.{alias.name}")]
    return tuple(found)


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield every statement at any depth; expressions hold no import, and skipping them makes this fast."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for node in getattr(tree, name, ()):
            if isinstance(node, ast.stmt):
                yield node
            if isinstance(node, ast.AST):
                yield from _statements(node)


@cache
def _own_source(module: str) -> Path | None:
    """Return the file of an own module, without importing anything: not even its parent packages."""
    top, *rest = module.split(".")
    home = _own_package(top)
    if home is None:
        return None
    if not rest:
        return home
    if home.name != "__init__.py":
        return None
    stem = home.parent.joinpath(*rest)
    return next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.is_file()), None)


@cache
def _own_package(top: str) -> Path | None:
    if not top or top in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ModuleNotFoundError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    installed = (Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib"))
    if top not in _OURS and any(path.is_relative_to(folder) for folder in installed):
        return None
    return path

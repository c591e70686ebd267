"""A module imports only from floors below its own; the harness never imports what it measures."""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Lowest first. A package imports packages of floors below its own; errors are the ground that all stand on.
GROUND = "errors"
FLOORS: tuple[tuple[str, ...], ...] = (
    ("store", "execution"),
    ("data",),
    ("features", "samples", "evaluation"),
    ("config",),
    ("snapshots",),
    ("run",),
    ("integrations", "audit", "report"),
    ("cli", "hydra_plugins"),
)
PLUGINS = "hydra_plugins"
HEAVY = {"torch", "mlflow", "xgboost", "catboost", "dask", "distributed", "optuna"}
SOURCES = [path for name in ("harness", "baselines", "hydra_plugins") for path in sorted((ROOT / name).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str | None:
    """Return the package of the harness that a module stands in; None for whatever stands in none.

    Hydra's plugins stand beside it, where Hydra looks for them, and on the floor of the command line.
    """
    parts = module.split(".")
    if parts[0] == PLUGINS:
        return PLUGINS
    return parts[1] if parts[0] == "harness" and len(parts) > 1 and parts[1] != "__main__" else None


@functools.cache
def import_statements(path: Path) -> tuple[tuple[ast.Import | ast.ImportFrom, bool], ...]:
    """Return every import of a file, which several tests look at, and whether it stands at the top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top_level = {id(node) for node in tree.body}
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return tuple((node, id(node) in top_level) for node in found)


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    found: set[str] = set()
    for node, is_top_level in import_statements(path):
        if top_level_only and not is_top_level:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"{path}: relative imports hide the floor"
            found.add(node.module or "")
    return found


def test_the_house_has_few_rooms_on_few_floors() -> None:
    rooms = {path.name for path in (ROOT / "harness").iterdir() if path.name != "__pycache__"}
    packages = {GROUND, *(package for floor in FLOORS for package in floor)} - {PLUGINS}
    assert rooms == packages | {"__init__.py", "__main__.py", "py.typed"}
    assert len(rooms - {"__main__.py"}) <= 16
    assert len(FLOORS) <= 8


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_down_the_floors(path: Path) -> None:
    own = package_of(module_name(path))
    if own is None:
        return
    below = {GROUND} if own == GROUND else {GROUND, *(p for floor in FLOORS[: floor_of(own)] for p in floor)}
    above = {t for t in imports(path) if (there := package_of(t)) is not None and there != own and there not in below}
    assert not above, f"{module_name(path)} imports {above}: not on a floor below its own"


def floor_of(package: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if package in floor)


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = {module_name(path): path for path in SOURCES}
    edges = {name: imported_modules(path, known) - {name} for name, path in known.items()}
    waiting = dict(edges)
    while free := [name for name, targets in waiting.items() if not targets & set(waiting)]:
        for name in free:
            del waiting[name]
    circle = {name: sorted(targets & set(waiting)) for name, targets in waiting.items()}
    assert not circle, f"a circle of imports runs through some of {circle}"


def imported_modules(path: Path, known: Collection[str]) -> set[str]:
    """Return the modules that a file imports, at once or later; a package counts where its own names are used."""
    found: set[str] = set()
    for node, _ in import_statements(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & set(known)
            found |= inside or {str(node.module)}
    return found & set(known)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_harness_never_imports_what_it_measures(path: Path) -> None:
    if not module_name(path).startswith("baselines"):
        assert not {t for t in imports(path) if t.split(".")[0] == "baselines"}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_harness_imports_heavy_libraries_only_when_it_uses_them(path: Path) -> None:
    if module_name(path).startswith("baselines"):
        return
    heavy = {t.split(".")[0] for t in imports(path, top_level_only=True)} & HEAVY
    assert not heavy, f"{module_name(path)} imports {heavy} as soon as it is imported"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_is_pickled(path: Path) -> None:
    assert not {t.split(".")[0] for t in imports(path)} & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}

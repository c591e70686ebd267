"""A module imports only from floors below its own; the harness never imports what it measures."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS: tuple[tuple[str, ...], ...] = (
    ("harness.compiled", "harness.config_folder", "harness.files", "harness.redaction", "harness.store_lease"),
    (
        "harness.errors",
        "harness.file_names",
        "harness.markdown",
        "harness.module_origin",
        "harness.public_names",
        "harness.code_strings",
        "harness.observer",
        "harness.plain_observer",
    ),
    ("harness.limits",),
    ("harness.data", "harness.code_digest", "harness.blas", "harness.machine", "harness.artifact_lock"),
    ("harness.features",),
    ("harness.samples", "harness.normal_equations"),
    ("harness.windows", "harness.view_log"),
    ("harness.predictions", "harness.interfaces"),
    (
        "harness.preprocess",
        "harness.metrics",
        "harness.portfolio",
        "harness.significance",
        "harness.collection",
        "harness.contracts",
    ),
    ("harness.artifacts", "harness.instantiate", "harness.shelf", "harness.execution", "harness.time_left"),
    ("harness.window_stage", "harness.store_care"),
    ("harness.rolling", "harness.evaluation"),
    ("harness.provenance", "harness.snapshot"),
    ("harness.migrations", "harness.compare", "harness.baseline"),
    ("harness.suite", "harness.evidence"),
    ("harness.config",),
    ("harness.schedule", "harness.schema", "harness.preflight"),
    ("harness.stages",),
    ("harness.job",),
    ("harness.experiment",),
    ("harness.worker",),
    ("harness.fill",),
    ("harness.sweep",),
    ("harness.sweep_plan",),
    ("harness.sweep_statistics",),
    ("harness.leaderboard", "harness.regression", "harness.search"),
    ("harness.published",),
    ("harness.audit", "harness.tracking", "harness.report", "harness.skeletons", "harness.qlib_workflow"),
    ("harness.cli", "harness.pytest_plugin"),
)
HEAVY = {"torch", "mlflow", "xgboost", "catboost", "dask", "distributed", "optuna"}
SOURCES = sorted((ROOT / "harness").rglob("*.py")) + sorted((ROOT / "baselines").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module: str) -> int | None:
    for number, members in enumerate(FLOORS):
        if any(module == m or module.startswith(m + ".") for m in members):
            return number
    return None


def part_of(module: str) -> str:
    return next(m for members in FLOORS for m in members if module == m or module.startswith(m + "."))


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_down_the_floors(path: Path) -> None:
    name = module_name(path)
    if name in ("harness", "baselines") or name.startswith("baselines."):
        return
    own = floor_of(name)
    assert own is not None, f"{name} stands on no floor: add it to FLOORS"
    for target in imports(path):
        if not target.startswith("harness."):
            continue
        floor = floor_of(target)
        assert floor is not None, f"{name} imports {target}, which stands on no floor"
        same_part = part_of(target) == part_of(name)
        assert floor < own or same_part, f"{name} (floor {own}) imports {target} (floor {floor})"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_harness_never_imports_what_it_measures(path: Path) -> None:
    if module_name(path).startswith("harness"):
        assert not {t for t in imports(path) if t.split(".")[0] == "baselines"}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_the_harness_imports_heavy_libraries_only_when_it_uses_them(path: Path) -> None:
    if not module_name(path).startswith("harness"):
        return
    heavy = {t.split(".")[0] for t in imports(path, top_level_only=True)} & HEAVY
    assert not heavy, f"{module_name(path)} imports {heavy} as soon as it is imported"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_is_pickled(path: Path) -> None:
    assert not {t.split(".")[0] for t in imports(path)} & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}

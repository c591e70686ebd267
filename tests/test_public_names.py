"""A class keeps its name in snapshots when its file moves, and every blessed baseline composes to its identity."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

import baselines
import harness
from harness.config import Composer
from harness.config.instantiate import build
from harness.config.tolerances import Case
from harness.run.pipeline import settings_of
from harness.snapshots.baseline import Baselines
from harness.snapshots.suite import named_suite
from harness.store.artifacts import canonical_json
from harness.store.records import describe, module_of, public_name, with_public_names

ROOT = Path(__file__).resolve().parents[1]
NAMES = {**harness.PUBLIC_NAMES, **baselines.PUBLIC_NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_leads_to_the_class_that_is_called_so(name: str) -> None:
    if name.endswith(("CatBoost", "XGBoost")):
        pytest.importorskip(name.rpartition(".")[2].lower())
    found = getattr(importlib.import_module(module_of(name)), name.rpartition(".")[2])
    assert isinstance(found, type)
    assert public_name(found) == name


@pytest.mark.parametrize("root", [harness, baselines], ids=lambda root: root.__name__)
def test_what_earlier_versions_recorded_is_one_of_todays_names(root: ModuleType) -> None:
    for module, public in root.FORMER_MODULES.items():
        names = [name for name in NAMES if name.rpartition(".")[0] == public]
        former = [f"{module}.{name.rpartition('.')[2]}" for name in names]
        assert [r["_target_"] for r in with_public_names([{"_target_": f} for f in former])] == names


@pytest.mark.parametrize("root", [harness, baselines], ids=lambda root: root.__name__)
def test_fields_of_earlier_versions_are_no_fields_of_todays_records(root: ModuleType) -> None:
    for name, former in getattr(root, "FORMER_FIELDS", {}).items():
        fields = {
            f.name: f
            for f in dataclasses.fields(getattr(importlib.import_module(module_of(name)), name.rpartition(".")[2]))
        }
        assert all(field not in fields or "unrecorded" in fields[field].metadata for field in former)


def test_a_class_that_nobody_lists_is_called_after_its_own_module() -> None:
    assert public_name(ModuleType) == "builtins.module"
    assert module_of("my_package.my_module.Mine") == "my_package.my_module"


def test_a_package_of_a_users_own_keeps_its_names_when_its_files_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "moved_package"
    (package / "inner").mkdir(parents=True)
    names = 'PUBLIC_NAMES = {"moved_package.Mine": "moved_package.inner.deep"}\n'
    (package / "__init__.py").write_text(names + 'FORMER_FIELDS = {"moved_package.Mine": ("width",)}\n')
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text(
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Mine:\n    depth: int = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("moved_package")
    try:
        made = build({"_target_": "moved_package.Mine", "depth": 2})
        assert describe(made) == {"_target_": "moved_package.Mine", "depth": 2}
        assert with_public_names([{"_target_": "moved_package.Mine", "depth": 2, "width": 3}]) == [describe(made)]
    finally:
        for name in [n for n in sys.modules if n.startswith("moved_package")]:
            del sys.modules[name]


COMPOSER = Composer()
BLESSED = [(suite, case) for suite in ("smoke", "full") for case in named_suite(suite).cases]


@pytest.mark.parametrize(("suite", "case"), BLESSED, ids=lambda value: getattr(value, "case", value))
def test_every_blessed_baseline_still_composes_to_the_same_bytes(suite: str, case: Case) -> None:
    baseline = Baselines(ROOT / "results").baseline(suite, case.case)
    assert baseline is not None
    recorded = with_public_names(baseline.snapshot.identity["config"])
    assert canonical_json(settings_of(COMPOSER(case.overrides))) == canonical_json(recorded)


@pytest.mark.parametrize("root", [harness, baselines], ids=lambda root: root.__name__)
def test_what_is_exported_can_be_imported_by_name_and_is_listed(root: ModuleType) -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    for name in root.__all__:
        if name in ("CatBoost", "XGBoost"):
            pytest.importorskip(name.lower())
        assert getattr(root, name).__name__ == name
        assert f"::: {root.__name__}.{name}\n" in page or f"`{name}`" in page, f"{name} is not on the page"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        root.Nothing  # noqa: B018


@pytest.mark.parametrize("root", [harness, baselines], ids=lambda root: root.__name__)
def test_type_checkers_are_shown_what_is_exported(root: ModuleType) -> None:
    tree = ast.parse(Path(str(root.__file__)).read_text(encoding="utf-8"))
    shown = {
        (alias.name, node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown == set(root.PLACES.items())

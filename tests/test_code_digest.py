"""The code digest follows imports: a change of any own source that a stage reaches changes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import code_digest as module
from harness.code_digest import code_digest, own_modules


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_model.py").write_text("import numpy\nfrom my_helper import f\n", encoding="utf-8")
    (tmp_path / "my_helper.py").write_text("def f(): return 1\n", encoding="utf-8")
    (tmp_path / "my_other.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for cached in (module._own_source, module._own_package):
        cached.cache_clear()
    yield tmp_path
    for cached in (module._own_source, module._own_package):
        cached.cache_clear()
    for name in ("my_model", "my_helper", "my_other"):
        sys.modules.pop(name, None)


def test_a_users_own_files_count_with_everything_they_import(project: Path) -> None:
    assert set(own_modules("my_model")) == {"my_model", "my_helper"}


def test_editing_an_imported_file_changes_the_digest(project: Path) -> None:
    before = code_digest("my_model")
    (project / "my_helper.py").write_text("def f(): return 2\n", encoding="utf-8")
    assert code_digest("my_model") != before


def test_editing_a_file_that_is_not_reached_changes_nothing(project: Path) -> None:
    before = code_digest("my_model")
    (project / "my_other.py").write_text("x = 2\n", encoding="utf-8")
    assert code_digest("my_model") == before


def test_our_own_modules_are_followed_through_the_package() -> None:
    found = own_modules("harness.samples")
    assert {"harness.samples", "harness.data.panel", "harness.data.calendar", "harness.errors"} <= set(found)
    assert "harness.windows" not in found


def test_nothing_is_imported_to_find_out(project: Path) -> None:
    (project / "my_helper.py").write_text("import sklearn.linear_model\nimport torch.nn\n", encoding="utf-8")
    code = "import sys; from harness.code_digest import code_digest; code_digest('my_model', 'harness.experiment');"
    code += "print(sorted({'my_model', 'my_helper', 'sklearn', 'torch', 'harness.experiment'} & set(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_digest_is_the_same_twice() -> None:
    assert code_digest("harness.samples") == code_digest("harness.samples")

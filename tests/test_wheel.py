"""The built wheel works outside the repository: the configuration tree travels in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment that holds the wheel and, through a path file, the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site = Path(
        subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*install, "--prefix", str(folder / "env"), str(wheel)], check=True, capture_output=True)
    # A plain line adds a folder without reading the .pth files in it, so this checkout's editable install stays out.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "env" / "bin"


def run(program: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(program), *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_wheel_holds_the_configuration_and_is_imported_from_the_new_environment(
    installed: Path, tmp_path: Path
) -> None:
    code = "import harness.config as c; print(c.__file__); print((c.config_folder() / 'config.yaml').is_file())"
    done = run(installed / "python", "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    where, has_configuration = done.stdout.split()
    assert Path(where).is_relative_to(installed.parent)
    assert has_configuration == "True"


@pytest.fixture(scope="module")
def ran(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the folder in which the main job ran, and what it printed."""
    folder = tmp_path_factory.mktemp("ran")
    done = run(installed / "bench", "run", "--json", *SMALL, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_the_main_job_runs_from_the_wheel(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, record = ran
    assert (folder / record["folder"] / "snapshot.json").is_file()
    assert record["snapshot"]["metrics"]["overall"]["IC"] is not None


def test_skeletons_and_the_template_of_the_report_travel_in_the_wheel(
    installed: Path, ran: tuple[Path, dict[str, Any]]
) -> None:
    folder, _ = ran
    for arguments in (["new", "metric", "my_metric"], ["report"]):
        done = run(installed / "bench", *arguments, folder=folder)
        assert done.returncode == 0, done.stderr
    assert (folder / "my_conf" / "evaluation" / "my_metric.yaml").is_file()
    assert (folder / "report.html").stat().st_size > 1_000_000

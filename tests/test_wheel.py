"""The built wheel works outside the repository: what it needs travels in it, and what it lacks it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
PLAIN = [*SMALL, "features=expressions"]
# Extra → the library that is looked for, and what needs it first.
FIRST_NEEDS = {
    "torch": ("torch", ["run", *PLAIN, "model=mlp"]),
    "xgboost": ("xgboost", ["run", *PLAIN, "model=xgboost"]),
    "catboost": ("catboost", ["run", *PLAIN, "model=catboost"]),
    "report": ("jinja2", ["report"]),
    "dask": ("distributed", ["run", *PLAIN, "executor=dask", "model.alpha=3"]),
    "mlflow": ("mlflow", ["run", *PLAIN, "tracking=mlflow"]),
    "optuna": ("optuna", ["search", *PLAIN, "model.alpha=interval(1,2)"]),
    "holidays": ("holidays", ["data", "info", "data=series", "data.path=load.csv", "data.series.holidays=DE"]),
    "river": ("river", ["run", *PLAIN, "adaptation=triggered"]),
    "joblib": (None, ["run", "-m", *PLAIN, "hydra/launcher=joblib", "model.alpha=1,2"]),
    "submitit": (None, ["run", "-m", *PLAIN, "hydra/launcher=submitit_slurm", "model.alpha=1,2"]),
}
LOAD = "time,series,value\n" + "".join(f"2020-01-{1 + h // 24:02} {h % 24:02}:00,a,{h}.5\n" for h in range(96))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment that holds the wheel and, through a path file, the libraries of this one."""
    folder = tmp_path_factory.mktemp("wheel")
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


def run(program: Path, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | more
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


def test_every_extra_is_in_the_table_of_what_needs_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    # Nothing needs `audit`: without it audits hear what a process opens, and say so.
    assert set(FIRST_NEEDS) == set(extras) - {"dev", "audit"}


@pytest.mark.parametrize("extra", [extra for extra, (library, _) in FIRST_NEEDS.items() if library])
def test_the_first_need_of_an_extra_names_it(
    extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library, arguments = FIRST_NEEDS[extra]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "load.csv").write_text(LOAD, encoding="utf-8")
    if extra == "report":
        assert main(["run", *PLAIN]) == 0
    monkeypatch.setitem(sys.modules, str(library), None)
    assert main(arguments) == 2
    assert extra == "report" or not (tmp_path / "runs").exists()
    told = capsys.readouterr().err
    assert f"needs the extra `{extra}`, which is not installed." in told
    assert f"pip install 'driftbench[{extra}]'" in told


@pytest.mark.nightly  # fetches all libraries, three times
@pytest.mark.parametrize("tool", ["pip", "pipx", "uv"])
def test_it_installs_alone_and_names_every_extra_by_what_installs_it_there(
    tool: str, wheel: Path, tmp_path: Path
) -> None:
    python, places = tmp_path / "env" / "bin" / "python", dict[str, str]()
    venv.create(tmp_path / "env", with_pip=True)
    if tool == "pip":
        command = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
        bench, how = python.with_name("bench"), "pip install 'driftbench[{extra}]'"
    else:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", tool], check=True, capture_output=True)
        places = {
            "PIPX_HOME": f"{tmp_path}/pipx",
            "PIPX_BIN_DIR": f"{tmp_path}/bin",
            "UV_TOOL_DIR": f"{tmp_path}/uv/tools",
            "UV_TOOL_BIN_DIR": f"{tmp_path}/bin",
        }
        command = [str(python.with_name(tool)), *(["tool"] if tool == "uv" else []), "install", str(wheel)]
        command += ["--python", os.path.realpath(python)]
        bench = tmp_path / "bin" / "bench"
        how = "pipx inject driftbench" if tool == "pipx" else "uv tool install 'driftbench[{extra}]'"
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **places})
    (tmp_path / "load.csv").write_text(LOAD, encoding="utf-8")
    for arguments in (["--help"], ["doctor"], ["run", *PLAIN], ["init", "study"]):
        done = run(bench, *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    for extra, (_, arguments) in FIRST_NEEDS.items():
        done = run(bench, *arguments, folder=tmp_path)
        assert done.returncode == 2, done.stdout + done.stderr
        assert f"needs the extra `{extra}`" in done.stderr
        assert how.format(extra=extra) in done.stderr

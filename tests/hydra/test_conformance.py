"""Hydra's own documentation, on this application: its commands compose what it says they compose."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from harness.cli import main
from tests.hydra.conftest import Bench

CONF = {
    "experiment/nightly.yaml": """\
        # @package _global_
        defaults:
          - override /model: mlp
          - override /windows: sliding
        seed: 7
        """,
    "experiment/launched.yaml": """\
        # @package _global_
        defaults:
          - override /hydra/launcher: joblib
          - override /hydra/sweeper: optuna
        hydra:
          sweeper:
            n_trials: 7
        """,
    "experiment/sweeping.yaml": """\
        # @package _global_
        hydra:
          mode: MULTIRUN
          sweeper:
            params:
              model.alpha: 0.1,1
        """,
    "experiment/step.yaml": """\
        # @package _global_
        windows:
          step: 40
        """,
    "tune/a.yaml": "x: 1",
    "model/mine.yaml": """\
        defaults:
          - linear
        alpha: 5
        """,
    "mine.yaml": """\
        defaults:
          - config
          - override model: mlp
          - _self_
        seed: 11
        """,
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    for name, text in CONF.items():
        path = tmp_path / "my_conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return tmp_path / "my_conf"


# What is given → a key, and its value in what `--cfg job` prints.
COMPOSED = [
    # Basic override syntax
    ("model.alpha=2", "model.alpha", 2),
    ("seed=1e3", "seed", 1000.0),
    ("case=null", "case", None),
    ("case='hello there'", "case", "hello there"),
    ("case=\"'7'\"", "case", "'7'"),
    ("windows.split=[0.5,0.2,0.3]", "windows.split", [0.5, 0.2, 0.3]),
    ("data.columns={close:last}", "data.columns.close", "last"),
    ("case=${suite}", "case", "${suite}"),
    ("case=str(5)", "case", "5"),
    ("seed=int(5.0)", "seed", 5),
    # + ++ ~
    ("+features.add.A=$close", "features.add.A", "$close"),
    ("++seed=3", "seed", 3),
    ("++features.add.B=1", "features.add.B", 1),
    ("~tracking", "tracking", "gone"),
    # groups, defaults lists, packages
    ("model=mlp", "model._target_", "baselines.models.MLP"),
    ("windows=sliding", "windows.kind", "sliding"),
    ("model=mine", "model.alpha", 5),
    ("experiment=nightly", "windows.kind", "sliding"),
    ("+experiment=nightly", "seed", 7),
    ("model@data.other=linear", "data.other", "refused"),
    ("+model@second=linear", "second.alpha", 0.05),
]


@pytest.mark.parametrize(("override", "key", "value"), COMPOSED, ids=[case[0] for case in COMPOSED])
def test_an_override_of_the_documentation_composes(
    bench: Bench, conf: Path, override: str, key: str, value: object
) -> None:
    more = ["data=tabular", "data.path=x"] if "columns" in override else []
    shown = bench("--config-dir", str(conf), "--cfg", "job", *more, override)
    if value == "refused":
        assert (shown.code, shown.err.count("\n  where:")) == (2, 1)
        return
    assert shown.code == 0, shown.err
    node = yaml.safe_load(shown.out)
    *parents, last = key.split(".")
    for parent in parents:
        node = node[parent]
    assert node.get(last, "gone") == value


# What is given → lines of what is printed.
PRINTED = [
    (["--cfg", "job", "--package", "windows"], ["# @package windows", "kind: expanding"]),
    (["-c", "job", "-p", "windows.step"], ["20"]),
    (["--cfg", "hydra", "--package", "hydra.job"], ["# @package hydra.job", "name: bench"]),
    (["--cfg", "hydra", "-p", "hydra.launcher", "hydra/launcher=joblib", "hydra.launcher.n_jobs=3"], ["n_jobs: 3"]),
    (["--cfg", "hydra", "-p", "hydra.launcher", "hydra/launcher=submitit_slurm"], ["timeout_min: 60"]),
    (["--cfg", "hydra", "-p", "hydra.launcher", "hydra/launcher=bench_local"], ["retries: 2"]),
    (["--cfg", "hydra", "-p", "hydra.sweeper", "+experiment=launched"], ["n_trials: 7"]),
    (["--cfg", "hydra", "-p", "hydra.launcher", "experiment=launched"], ["n_jobs: -1"]),
    (["--cfg", "all", "hydra.run.dir=out/${seed}"], ["    dir: out/${seed}", "seed: 43"]),
    (["--cfg", "hydra", "-p", "hydra.run", "--resolve", "hydra.run.dir=out/${seed}"], ["dir: out/43"]),
    (["--cfg", "job", "--resolve", "case=${suite}"], ["case: adhoc"]),
    (["--cfg", "job", "--config-name", "mine"], ["seed: 11"]),
    (["-cn", "mine", "-c", "job", "-p", "seed"], ["11"]),
    (["--cfg", "job", "-p", "model.alpha", "hydra.searchpath=[file://my_conf]", "model=mine"], ["5"]),
    (["--cfg", "hydra", "-p", "hydra.job.env_set", "+hydra.job.env_set.A=b"], ["A: b"]),
    (["--cfg", "hydra", "-p", "hydra.sweep.subdir"], ["${hydra.job.num}"]),
    (["--cfg", "hydra", "-p", "hydra.run.dir", "hydra.run.dir=out/${seed}"], ["out/${seed}"]),
    (["--cfg", "job", "-p", "case", "case=${oc.env:NO_SUCH_VARIABLE}"], ["${oc.env:NO_SUCH_VARIABLE}"]),
    (["--cfg", "job", "-p", "seed", "+experiment=[nightly,step]"], ["7"]),
    (["--cfg", "job", "-p", "windows.step", "experiment=[nightly,step]"], ["40"]),
    (["--cfg", "job", "-p", "case", "case=${oc.select:nothing,3}", "--resolve"], ["3"]),
    (["--cfg", "job", "-p", "tune.x", "+tune=a"], ["1"]),
    (["--cfg", "hydra", "-p", "hydra.job_logging", "hydra/job_logging=disabled"], ["level: ERROR"]),
    (["--info", "searchpath"], ["| hydra", "| main", "--config-dir"]),
    (["--info", "defaults"], ["Defaults List", "| model/linear"]),
    (["--info", "defaults-tree"], ["Defaults Tree", "  model: linear"]),
    (["--info", "config", "seed=5"], ["seed: 5"]),
    (["--info", "plugins"], ["BenchSweeper", "JoblibLauncher", "BenchSearchPath"]),
    (["-i", "all"], ["Installed Hydra Plugins", "Defaults List"]),
    (["--hydra-help"], ["-sc,--shell-completion : install=SHELL", "hydra/launcher", "bench_local"]),
    (["--shell-completion", "install=bash"], ["COMP_LINE"]),
]


@pytest.mark.parametrize(("arguments", "lines"), PRINTED, ids=[" ".join(case[0]) for case in PRINTED])
def test_an_option_of_the_documentation_prints(
    bench: Bench, conf: Path, arguments: list[str], lines: list[str]
) -> None:
    shown = bench(*arguments) if "searchpath=" in "".join(arguments) else bench(*arguments, "-cd", str(conf))
    assert shown.code == 0, shown.err
    assert [line for line in lines if line not in shown.out] == []


# Sweep functions → the values of the cells.
SWEPT = [
    ("model.alpha=1,2", ["1", "2"]),
    ("model.alpha=choice(1,2)", ["1", "2"]),
    ("model.alpha=range(1,4)", ["1", "2", "3"]),
    ("model.alpha=range(1,7,2)", ["1", "3", "5"]),
    ("model.alpha=sort(3,1,2)", ["1", "2", "3"]),
    ("model.alpha=sort(3,1,2,reverse=true)", ["3", "2", "1"]),
    ("model.alpha=int(choice(1.0,2.0))", ["1", "2"]),
    ("model.alpha=tag(t1,choice(1,2))", ["1", "2"]),
    ("model=glob(ca*)", ["catboost"]),
    ("model=glob(*,exclude=[l*,*boost,mlp])", ["gru"]),
    ("windows.split=[0.5,0.2,0.3],[0.6,0.2,0.2]", ["[0.5,0.2,0.3]", "[0.6,0.2,0.2]"]),
]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        pytest.param(*case, id=case[0], marks=[] if at % 3 == 0 else pytest.mark.nightly)
        for at, case in enumerate(SWEPT)
    ],
)
def test_a_sweep_function_of_the_documentation_makes_cells(bench: Bench, override: str, values: list[str]) -> None:
    shown = bench("-m", "--plan", "data.instruments=8", "data.days=300", "data.members=6", override)
    key = override.partition("=")[0]
    found = [line.split(f"{key}=")[1].split()[0] for line in shown.out.splitlines() if line.lstrip().startswith(key)]
    assert found == values, shown.out + shown.err


@pytest.mark.nightly
def test_shuffle_keeps_the_values(bench: Bench) -> None:
    shown = bench("-m", "--plan", "data.instruments=8", "data.days=300", "data.members=6", "seed=shuffle(range(1,6))")
    found = [line.split("seed=")[1].split()[0] for line in shown.out.splitlines() if line.lstrip().startswith("seed=")]
    assert sorted(found) == ["1", "2", "3", "4", "5"]
    assert found != sorted(found)


@pytest.mark.parametrize("axes", ["+hydra.sweeper.params={seed:'1,2'}", "+hydra.sweeper.params.seed='1,2'"])
def test_the_axes_of_a_sweep_can_be_given_as_hydras_setting(bench: Bench, axes: str) -> None:
    shown = bench("-m", "--plan", "data.instruments=8", "data.days=300", "data.members=6", axes)
    assert "2 cells" in shown.out, shown.err


def test_a_mode_in_a_file_sweeps_without_an_option(bench: Bench, conf: Path) -> None:
    shown = bench("-cd", str(conf), "--plan", "data.instruments=8", "data.days=300", "experiment=sweeping")
    assert "2 cells" in shown.out, shown.err


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("bench run mod", ["model.", "model="]),
        ("bench run model=l", ["model=lightgbm", "model=linear"]),
        ("bench run windows.s", ["windows.split", "windows.step="]),
        ("bench run hydra/launcher=bench_", ["hydra/launcher=bench_dask", "hydra/launcher=bench_local"]),
    ],
)
def test_a_shell_is_told_what_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, offered: list[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert main(["-sc", "query=bash"]) == 0  # as Hydra's own script for a shell asks
    shown = capsys.readouterr()
    assert shown.err == ""
    found = shown.out.split()
    assert [word for word in offered if not any(word in one for one in found)] == []


# What is given → the key that its one message is about, and a piece of it.
REFUSED = [
    (["hydra.run.dri=x"], "hydra.run.dri", "did you mean `hydra.run.dir`?"),
    (["hydra/launcher=jobib"], "hydra/launcher", "did you mean `joblib`?"),
    (["hydra.job.chdir=true"], "hydra.job.chdir", "hydra.run.dir=FOLDER"),
    (["hydra.job.num=3"], "hydra.job.num", "the sweeper counts"),
    (["hydra.runtime.cwd=x"], "hydra.runtime.cwd", "changes nothing"),
    (["hydra.help.header=x"], "hydra.help.header", "no template"),
    (["+hydra.overrides.task=[a]"], "hydra.overrides.task", "changes nothing"),
    (["choices.model=x"], "choices.model", "GROUP=CHOICE"),
    (["-m", "hydra.sweeper.n_trials=3"], "hydra.sweeper.n_trials", "no configuration key"),
    (["-m", "hydra.sweeper.sort_by=IQ"], "--sort-by", "rank_IC"),
    (["-m", "hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size", "at least 1"),
    (["-m", "hydra.sweep.dir=s", "hydra.sweep.subdir=one", "seed=1,2"], "hydra.sweep.subdir", "hydra.job.num"),
    (["model.alpha=1,2"], "model.alpha", "bench run -m"),
    (["-m", "model.alpha=interval(0,1)"], "model.alpha", "bench search"),
    (["windows.stpe=3"], "windows.stpe", "did you mean `windows.step`?"),
    (["model=glob(l*)"], "model", "bench run -m"),
    (["--config-name", "confg"], "--config-name", "did you mean `config`?"),
    (["--config-path", "nowhere"], "--config-path", "does not exist"),
    (["--cfg", "jbo"], "--cfg", "did you mean `job`?"),
    (["--info", "plugin"], "--info", "did you mean `plugins`?"),
    (["--cfg", "job", "-p", "windws"], "--package", "did you mean `windows`?"),
    (["--cfg", "job", "--resolve", "case=${nothing}"], "--resolve", "'nothing' not found"),
    (["--resolve"], "--resolve", "--cfg"),
    (["-m", "--cfg", "job"], "--multirun --cfg", "one thing"),
    (["--run", "-m", "seed=1,2"], "--run --multirun", "one thing"),
    (["-m", "hydra.mode=RUN", "seed=1,2"], "hydra.mode", "one thing"),
    (["~windows.train"], "windows.train", "nothing to delete"),
    (["~model=mlp"], "model", "nothing to delete"),
    (["=3"], "=3", "KEY=VALUE"),
    (["model@other=linear"], "model@other", "did you mean `+model@other=linear`"),
    (["-cd", "my_conf", "tune=a"], "tune", "did you mean `+tune=a`"),
    (["-cd", "my_conf", "tune=b"], "tune", "+tune=CHOICE adds the group: a"),
    (["--shell-completion", "install=tcsh"], "--shell-completion", "bash, zsh"),
    (["-m", "hydra/sweeper=optuna", "hydra/launcher=joblib", "seed=1,2"], "hydra/launcher", "executor=local"),
    (["-m", "hydra/sweeper=optuna", "hydra.sweeper.direction=up", "seed=1,2"], "hydra.sweeper.direction", "minimize"),
    (["-m", "--plan", "hydra/sweeper=optuna", "seed=1,2"], "--plan", "hydra/sweeper=bench"),
]


@pytest.mark.parametrize(("arguments", "where", "piece"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_what_cannot_be_honoured_is_refused_in_one_message(
    bench: Bench, conf: Path, arguments: list[str], where: str, piece: str
) -> None:
    shown = bench(*arguments)
    assert shown.code == 2, shown.out + shown.err
    assert shown.err.startswith("bench: ")
    assert "Traceback" not in shown.err
    assert f"  where:    {where}\n" in shown.err
    assert piece in shown.err


def test_a_full_error_shows_where_it_comes_from(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    shown = bench("windows.stpe=3")
    assert shown.code == 2
    assert "Traceback" in shown.err
    assert "did you mean `windows.step`?" in shown.err

"""Where work runs changes nothing: the same bytes from one process, from several, and from a Dask cluster."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import yaml
from distributed import LocalCluster

from harness.cli import main
from harness.errors import ConfigError
from harness.execution.dask import Dask, _errors_only, _own_cluster
from harness.execution.local import Local, LocalPool
from harness.execution.task import Ended, Task
from harness.run import dispatch
from harness.run.dispatch import Dispatched
from tests.execution import tasks

SMALL = [
    *["data.instruments=24", "data.days=480", "data.members=16", "label.horizon=5", "adaptation.hist_step_n=4"],
    *["adaptation.max_epoch=2", "adaptation.fea_imp_n=5", "adaptation.choice_gbdt.rounds=3"],
    *["adaptation.loss_skip_thresh=5"],
]
SWEEP = ["windows.step=40", "adaptation=rolling_retrain,ddgda", "model.alpha=0.1,1"]


def asked(text: str, folder: Path) -> bytes:
    """Return a file of `.hydra/` without what says where, when and by which executor a cell ran."""
    record = yaml.safe_load(text.replace(str(folder), "FOLDER"))
    if isinstance(record, list):  # overrides.yaml
        record = [line for line in record if not line.startswith("executor")]
    elif "hydra" in record:
        hydra = record["hydra"]
        hydra["overrides"]["task"] = [line for line in hydra["overrides"]["task"] if not line.startswith("executor")]
        del hydra["job"]["override_dirname"], hydra["runtime"]["output_dir"], hydra["runtime"]["choices"]["executor"]
    else:
        del record["executor"]
    return json.dumps(record).encode()


def left_in(folder: Path) -> dict[str, bytes]:
    """Return every file of the runs below a folder that says what came out or was asked, without provenance."""
    found = {}
    for path in sorted(p for p in (folder / "runs").rglob("*") if p.is_file() and "sweep-" not in str(p)):
        name, content = str(path.relative_to(folder / "runs")), path.read_bytes()
        if path.name == "snapshot.json":
            record = json.loads(content)
            del record["provenance"], record["seal"]
            content = json.dumps(record).encode()
        found[name] = asked(content.decode(), folder) if path.parent.name == ".hydra" else content
    return found


def sweep(folder: Path, *overrides: str, cells: tuple[str, ...] = (*SMALL, *SWEEP)) -> dict[str, bytes]:
    """Run the sweep in a folder and return what it leaves."""
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    assert main(["run", "-m", *cells, *where, *overrides]) == 0
    found = left_in(folder)
    assert sum(name.endswith("snapshot.json") for name in found) == 4
    return found


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return sweep(tmp_path_factory.mktemp("serial"))


@pytest.mark.nightly
def test_two_local_processes_give_the_same_bytes(serial: dict[str, bytes], tmp_path: Path) -> None:
    assert sweep(tmp_path, "executor=local", "executor.workers=2", "executor.threads=1") == serial


@pytest.mark.nightly
@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_of_three_workers_gives_the_same_bytes(serial: dict[str, bytes], tmp_path: Path) -> None:
    assert sweep(tmp_path, "executor=dask", "executor.workers=3") == serial


# A panel that is no longer computed as a whole: features by instruments and then by times, sums by times. EMA reads all
# of the past.
LARGE = (
    *SMALL[:4],
    *("features=expressions", "+features.expressions.smooth='EMA($close, 12)/$close'", "windows.step=40"),
    *("model.alpha=0.1,1", "adaptation=rolling_retrain,gf_exp"),
)
PARTS = {"part": 2, "chunk": 4, "sums": 2}  # sums: of each adaptation's weights


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("executor", ["local", pytest.param("dask", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("model", ["linear", pytest.param("lightgbm", marks=pytest.mark.nightly)])
def test_a_panel_in_parts_by_instruments_and_by_times_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str, model: str
) -> None:
    cells = LARGE if model == "linear" else (*LARGE[:-2], "model=lightgbm", "model.num_boost_round=2,3", LARGE[-1])
    alone = sweep(tmp_path / "serial", cells=cells)
    monkeypatch.setattr(dispatch, "_LARGE", 0)
    tasks, submit = Counter[str](), Dispatched._task

    def noted(*given: Any) -> Task:
        task = submit(*given)
        tasks[task.name.partition("-")[0]] += 1
        return task

    monkeypatch.setattr(Dispatched, "_task", noted)
    assert sweep(tmp_path / "workers", f"executor={executor}", "executor.workers=2", cells=cells) == alone
    assert {name: tasks[name] for name in PARTS} == PARTS | ({} if model == "linear" else {"sums": 0})
    assert not list((tmp_path / "workers" / "store" / "part").glob("*"))  # the chunks hold what they held


CHAINS: tuple[str, ...] = (*SMALL[:4], "windows.step=40", "model.alpha=0.1,1")
# Windows that build on each other by their errors, and by what an adaptation goes on learning.
TRIGGERED = ("adaptation=incremental,triggered", "adaptation.detector=kswin", "adaptation.warm_up=5")
LEARNING = (
    *("features=expressions", "adaptation=double_adapt,adaptive_random_forest"),
    *("adaptation.block=10", "adaptation.max_epochs=1", "adaptation.trees=2"),
)


@pytest.mark.nightly
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "workers", [["executor=local", "executor.threads=1"], ["executor=dask"]], ids=["local", "Dask"]
)
@pytest.mark.parametrize("chains", [TRIGGERED, LEARNING], ids=["triggered", "learning"])
def test_a_chain_of_windows_gives_the_same_bytes(tmp_path: Path, chains: tuple[str, ...], workers: list[str]) -> None:
    alone = sweep(tmp_path / "serial", cells=(*CHAINS, *chains))
    assert sweep(tmp_path / "workers", "executor.workers=2", *workers, cells=(*CHAINS, *chains)) == alone


PROXIES = [
    *SMALL[:-4],
    *["adaptation=ddgda", "windows.step=40", "adaptation.alpha=0.01,1", "adaptation.sim_task_model=gbdt"],
    *["adaptation.gbdt.rounds=2", "adaptation.max_epoch=2", "adaptation.fea_imp_n=5"],
    *["adaptation.choice_gbdt.rounds=3", "adaptation.loss_skip_thresh=5"],
]


def learned(folder: Path, *overrides: str) -> dict[str, bytes]:
    """Sweep DDG-DA with LightGBM proxies and return what came out of it."""
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    assert main(["run", "-m", *PROXIES, *where, *overrides]) == 0
    return left_in(folder)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "preprocess",
    [pytest.param("null", id="proxy data"), pytest.param("${adaptation.preprocess}", id="all features")],
)
def test_blocks_whose_proxies_workers_fit_give_the_same_bytes(tmp_path: Path, preprocess: str) -> None:
    given = f"adaptation.sim_preprocess={preprocess}"
    alone = learned(tmp_path / "serial", given)
    assert any("similarity" in name for name in alone)
    assert any(name.endswith("artefacts.json") for name in alone)
    shared = learned(tmp_path / "local", given, "executor=local", "executor.workers=2", "executor.threads=1")
    assert shared == alone
    columns = np.load(next((tmp_path / "serial" / "runs").rglob("similarity_0.npy"))).shape[1]
    assert len(list((tmp_path / "local" / "store" / "similarity_column").glob("*/manifest.json"))) == columns
    assert not (tmp_path / "serial" / "store" / "similarity_column").exists()


@pytest.mark.nightly
def test_a_bug_in_somebodys_adaptation_stops_no_other_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "adaptation").mkdir()
    (tmp_path / "adaptation" / "broken.yaml").write_text("_target_: tests.execution.broken.Broken\n", encoding="utf-8")
    where = [f"output.store={tmp_path}/store", f"output.runs={tmp_path}/runs", "executor=local"]
    swept = ["adaptation=rolling_retrain,broken", "windows.step=40", "--config-dir", str(tmp_path)]
    assert main(["run", "-m", *SMALL[:4], *swept, *where]) == 1
    shown = capsys.readouterr()
    assert "ZeroDivisionError: a bug of its author" in shown.out
    (failure,) = (tmp_path / "runs").rglob("failure-*.txt")
    assert "in fit" in failure.read_text()
    assert len(list((tmp_path / "runs").glob("*/snapshot.json"))) == 1


@pytest.mark.filterwarnings("default")
def test_a_dask_worker_that_says_how_much_memory_it_has_takes_no_more_tasks_than_fit(tmp_path: Path) -> None:
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, resources={"MEMORY": 1e9}, dashboard_address=None)
    needs = {"0": 0.6e9, "1": 0.6e9, "2": 5e9}  # the last one more than there is: alone, not never
    given = [task(name, tmp_path, seconds=0.2, memory=int(memory)) for name, memory in needs.items()]
    with cluster, Dask(address=cluster.scheduler_address).start(tasks.work) as found:
        for one in given:
            found.submit(one)
        ended: list[Ended] = []
        while len(ended) < len(given):
            ended += found.wait()
    assert {one.error for one in ended} == {None}
    assert (tmp_path / "most").read_text() == "1"


def pool(**given: Any) -> LocalPool:
    return LocalPool(tasks.work, **{"workers": 2, "threads": 1, "cores": 2, "retries": 2, "memory": None, **given})


def run_all(found: LocalPool, *given: Task) -> dict[str, Ended]:
    ended: dict[str, Ended] = {}
    with found:
        for task in given:
            found.submit(task)
        while len(ended) < len(given):
            ended |= {one.name: one for one in found.wait()}
    return ended


def task(name: str, folder: Path, **what: Any) -> Task:
    options = {key: what.pop(key) for key in ("priority", "threads", "memory") if key in what}
    return Task(name, json.dumps({"name": name, "folder": str(folder), **what}), **options)


def test_what_goes_wrong_in_a_task_is_told_and_the_worker_lives_on(tmp_path: Path) -> None:
    ended = run_all(pool(workers=1), task("bad", tmp_path, fail="broken"), task("good", tmp_path))
    assert (ended["bad"].error, ended["bad"].died) == ("broken", False)
    assert ended["good"].error is None
    assert len({path.read_text() for path in tmp_path.glob("*.pid")}) == 1


def test_a_task_whose_worker_is_killed_is_done_by_another(tmp_path: Path) -> None:
    ended = run_all(pool(), task("killed", tmp_path, die_times=2), task("other", tmp_path))
    assert {one.error for one in ended.values()} == {None}
    assert len((tmp_path / "killed.tries").read_text()) == 3


def test_a_task_that_always_kills_its_worker_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    ended = run_all(
        pool(retries=1), task("killer", tmp_path, die_times=99), *(task(str(i), tmp_path) for i in range(3))
    )
    assert ended["killer"].died
    assert "died 2 times" in str(ended["killer"].error)
    assert all(ended[str(i)].error is None for i in range(3))


def test_higher_priorities_go_first(tmp_path: Path) -> None:
    given = [task(str(p), tmp_path, priority=p) for p in (1, 3, 2)]
    run_all(pool(workers=1), *given)
    assert (tmp_path / "order").read_text().split() == ["3", "2", "1"]


@pytest.mark.parametrize("limits", [{"threads": 2}, {"memory": 600}])
def test_tasks_that_do_not_fit_together_wait_for_each_other(tmp_path: Path, limits: dict[str, int]) -> None:
    given = [task(str(i), tmp_path, seconds=0.2, **limits) for i in range(3)]
    run_all(pool(memory=1000), *given)
    assert (tmp_path / "most").read_text() == "1"


def test_libraries_of_a_worker_use_its_share_of_the_threads(tmp_path: Path) -> None:
    run_all(pool(threads=1), task("one", tmp_path))
    assert json.loads((tmp_path / "one.environment").read_text()) == {
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }


@pytest.mark.parametrize("given", [{"workers": 0}, {"threads": 0}, {"retries": -1}, {"workers": 4096}])
def test_impossible_numbers_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"out of range|more threads than cores"):
        Local(**given)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", ""])
def test_a_scheduler_that_does_not_answer_is_a_mistake_of_the_user(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.execution.dask._SECONDS_TO_CONNECT", 0.2)
    code = main(["run", *SMALL[:3], "executor=dask", f"executor.address={address}"])
    assert code == 2
    assert "executor.address" in capsys.readouterr().err


def test_workers_run_the_interpreter_of_the_main_process(tmp_path: Path) -> None:
    run_all(pool(), task("one", tmp_path))
    assert (tmp_path / "one.python").read_text() == sys.executable


def test_a_dask_cluster_whose_loop_begins_too_late_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed, started = pytest.importorskip("distributed"), list[object]()

    class Late:
        def __init__(self, **given: object) -> None:
            started.append(given)
            if len(started) == 1:
                raise AssertionError

        def close(self) -> None:
            started.append("closed")

    monkeypatch.setattr(distributed, "LocalCluster", Late)
    with _own_cluster(2) as cluster:
        assert isinstance(cluster, Late)
    assert started[0] == started[1]
    assert started[2:] == ["closed"]


def test_a_cluster_that_nobody_can_use_is_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("no loop")

    environment, level, closed = dict(os.environ), tasks.level_of_dask(), list[bool]()
    monkeypatch.setattr(LocalCluster, "close", lambda cluster: closed.append(True))
    monkeypatch.setattr("distributed.LocalCluster", lambda **_: object.__new__(LocalCluster))
    monkeypatch.setattr("distributed.Client", refused)
    with pytest.raises(RuntimeError, match="no loop"):
        Dask(workers=1).start(tasks.work)
    assert closed == [True]
    assert (dict(os.environ), tasks.level_of_dask()) == (environment, level)


def test_what_dask_tells_is_as_the_user_has_configured() -> None:
    """Beside a file of logging Dask's own variable is an error, with which no worker would start."""
    for configured in ({"logging": {"distributed": "info"}}, {"logging-file-config": "logging.ini"}):
        for given in (configured, {"distributed": configured}):
            with dask.config.set(given), _errors_only() as environment:
                assert environment == {}
                assert tasks.level_of_dask() != logging.ERROR


@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_tells_what_goes_wrong_and_outlives_a_killed_worker(tmp_path: Path) -> None:
    given = [task("bad", tmp_path, fail="broken"), task("killed", tmp_path, die_times=1), task("good", tmp_path)]
    queue = [task(f"queued {at}", tmp_path, seconds=0.2) for at in range(6)]
    ended: dict[str, Ended] = {}
    environment, level = dict(os.environ), tasks.level_of_dask()
    with Dask(workers=2).start(tasks.work) as found:
        levels = tasks.level_of_dask(), found._client.submit(tasks.level_of_dask).result()
        assert levels == (logging.ERROR, logging.ERROR), "tracebacks of what is being closed"
        addresses = [found._client.scheduler.address, *found._client.scheduler_info(n_workers=-1)["workers"]]
        assert all(address.startswith("tcp://127.0.0.1:") for address in addresses), "others could run code here"
        for one in queue:
            found.submit(one)
        waited: dict[str, float] = {}
        while len(waited) < len(queue):
            waited |= {one.name: one.seconds for one in found.wait()}
        assert min(waited.values()) >= 0.2
        # Two at a time: with the waiting, four of the six would take 0.4 s or more. One may be late on a busy machine.
        assert sorted(waited.values())[3] < 0.4, "seconds of work, not of waiting"
        for one in given:
            found.submit(one)
        while len(ended) < len(given):
            ended |= {one.name: one for one in found.wait()}
    assert {name: one.error for name, one in ended.items()} == {"bad": "broken", "killed": None, "good": None}
    assert len((tmp_path / "killed.tries").read_text()) == 2
    limits = json.loads((tmp_path / "good.environment").read_text())
    assert limits == {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    assert dict(os.environ) == environment, "the cluster has changed the environment of this process"
    assert tasks.level_of_dask() == level

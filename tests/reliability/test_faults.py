"""Whatever ends a sweep, nothing half-written is ever visible, no finished window is computed again, no bit changes.

By day the sweep compares rolling retraining with incremental learning, whose windows are a chain, by night with DDG-DA,
which has more stages.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.snapshots.snapshot import read_snapshot
from harness.store.care import damaged, entries
from tests.reliability.counted import SLOW
from tests.reliability.sweeps import DDGDA, finish, finished_windows, fits, made, scratch, snapshots, start

Undisturbed = tuple[dict[str, object], int, float]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Snapshots, number of windows and seconds of the sweep that nobody disturbs."""
    return leave_alone(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def undisturbed_ddgda(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The same of the sweep with DDG-DA."""
    return leave_alone(tmp_path_factory.mktemp("undisturbed_ddgda"), *DDGDA)


def leave_alone(folder: Path, *overrides: str) -> Undisturbed:
    began = time.perf_counter()
    finish(folder, *overrides)
    seconds = time.perf_counter() - began
    assert len(fits(folder)) == len(finished_windows(folder)) == len(made(folder))
    return snapshots(folder), len(made(folder)), seconds


def check_what_is_visible(folder: Path) -> None:
    """Every file that has its final name is whole."""
    assert not [entry for entry, is_damaged in damaged(entries(folder / "store")) if is_damaged]
    for path in (folder / "runs").glob("*/snapshot.json"):
        read_snapshot(path)


def check_kills(folder: Path, moments: list[float], undisturbed: Undisturbed, how: str, *overrides: str) -> None:
    for moment in moments:
        before, known, fitted = made(folder), finished_windows(folder), len(fits(folder))
        with start(folder, *overrides, f"executor={how}") as process:
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        after = made(folder)
        assert {name: after[name] for name in before} == before, "a finished window was replaced"
        assert not known & set(fits(folder)[fitted:]), "a finished window was fitted again"
        check_what_is_visible(folder)
    before, known, fitted = made(folder), finished_windows(folder), len(fits(folder))
    known |= finished_windows(folder, "fit")  # of a window that may grow: it is killed between its fit and its end
    finish(folder, *overrides)
    after = made(folder)
    assert len(fits(folder)) - fitted == undisturbed[1] - len(known), "a window was fitted twice, or not at all"
    assert {name: after[name] for name in before} == before
    assert len(after) == undisturbed[1]
    assert snapshots(folder) == undisturbed[0]


def moments(count: int, seed: int, longest: float) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(0.2, longest) for _ in range(count)]


@pytest.mark.nightly
def test_a_sweep_that_is_killed_twice_resumes_at_the_unfinished_window(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    check_kills(tmp_path, moments(2, 1, undisturbed[2]), undisturbed, "local")


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["serial", "local"])
def test_a_sweep_that_is_killed_at_twenty_moments_gives_the_same_bytes(
    tmp_path: Path, undisturbed_ddgda: Undisturbed, how: str
) -> None:
    for at, moment in enumerate(moments(20, 2, undisturbed_ddgda[2])):
        check_kills(tmp_path / str(at), [moment], undisturbed_ddgda, how, *DDGDA)


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["serial", "local"])
def test_a_chain_that_is_killed_again_and_again_gives_the_same_bytes(
    tmp_path: Path, undisturbed: Undisturbed, how: str
) -> None:
    check_kills(tmp_path, moments(8, 3, undisturbed[2] / 2), undisturbed, how)


def check_two_at_once(folder: Path, undisturbed: Undisturbed, *overrides: str) -> None:
    with start(folder, *overrides) as first, start(folder, *overrides) as second:
        for process in (first, second):
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    assert snapshots(folder) == undisturbed[0]
    assert len(made(folder)) == len(fits(folder)) == undisturbed[1]
    assert scratch(folder) == []


@pytest.mark.nightly
def test_two_sweeps_at_once_share_one_store(tmp_path: Path, undisturbed: Undisturbed) -> None:
    check_two_at_once(tmp_path, undisturbed)


@pytest.mark.nightly
def test_two_sweeps_with_ddgda_at_once_share_one_store(tmp_path: Path, undisturbed_ddgda: Undisturbed) -> None:
    check_two_at_once(tmp_path, undisturbed_ddgda, *DDGDA)


SMALL = ["adaptation=rolling_retrain", "windows.step=40", "executor.workers=2"]
IN_TIME = 2.0


def check_end(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str, number: int) -> str:
    """End a sweep whose workers are in the middle of a fit that takes minutes; return what it has to say."""
    monkeypatch.setenv(SLOW, "300")
    with start(folder, *SMALL, f"executor={how}") as process:
        began = time.monotonic()
        while process.poll() is None and len(fits(folder)) < 2 and time.monotonic() < began + 120:
            time.sleep(0.05)
        workers = children(process.pid) if how == "local" else workers_of(process.pid)
        os.kill(process.pid, number)
        process.wait(timeout=60)
        asked = time.monotonic()
        while any(map(is_running, workers)) and time.monotonic() < asked + IN_TIME:
            time.sleep(0.02)
        left = [worker for worker in workers if is_running(worker)]
        for worker in left:
            os.kill(worker, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert len(workers) >= 2
    assert not left
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number)
    check_what_is_visible(folder)
    return errors


def is_running(pid: int) -> bool:
    """Return whether a process does anything; one that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("how", ["local", "dask"])
def test_whatever_ends_a_sweep_its_workers_end_with_it_at_once_and_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, number: int
) -> None:
    errors = check_end(tmp_path, monkeypatch, how, number)
    assert "Traceback" not in errors
    assert errors.count("run the same command to resume") == (number != signal.SIGKILL)


def test_a_worker_whose_parent_is_killed_dies_in_the_middle_of_its_task(tmp_path: Path) -> None:
    request = json.dumps({"folder": str(tmp_path), "name": "long", "seconds": 300})
    code = "import sys; from harness.execution.task import Task; from harness.execution.local import LocalPool\n"
    code += "from tests.execution.tasks import work\n"
    code += "pool = LocalPool(work, 1, 1, 1, retries=0, memory=None)\n"
    code += "pool.submit(Task('long', sys.argv[1])); pool.wait()"
    with subprocess.Popen([sys.executable, "-c", code, request], stderr=subprocess.PIPE, text=True) as parent:
        while parent.poll() is None and not (tmp_path / "running").exists():
            time.sleep(0.02)
        worker = int((tmp_path / "long.pid").read_text(encoding="utf-8"))
        parent.kill()
        parent.wait()
        asked = time.monotonic()
        while is_running(worker) and time.monotonic() < asked + IN_TIME:
            time.sleep(0.02)
        assert not is_running(worker)
        _, errors = parent.communicate()
    assert errors == ""


def test_ctrl_c_takes_the_workers_down_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    with start(tmp_path, "executor=local") as process:
        while process.poll() is None and not made(tmp_path, "features"):
            time.sleep(0.05)
        workers = children(process.pid)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command to resume" in errors
    assert "Traceback" not in errors
    assert workers
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    check_what_is_visible(tmp_path)


@pytest.mark.nightly
def test_dask_workers_that_are_killed_in_the_middle_of_a_sweep_change_nothing(
    tmp_path: Path, undisturbed_ddgda: Undisturbed
) -> None:
    with start(tmp_path, *DDGDA, "executor=dask", "executor.workers=2") as process:
        killed: set[int] = set()
        while process.poll() is None and len(killed) < 3:
            seen = len(made(tmp_path))
            for worker in [pid for pid in workers_of(process.pid) if pid not in killed][: seen and 1]:
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
            time.sleep(0.2)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert killed
    assert snapshots(tmp_path) == undisturbed_ddgda[0]
    check_what_is_visible(tmp_path)


@pytest.mark.nightly
def test_ctrl_c_takes_a_dask_cluster_of_ones_own_down(tmp_path: Path) -> None:
    with start(tmp_path, "executor=dask", "executor.workers=2") as process:
        while process.poll() is None and not made(tmp_path, "features"):
            time.sleep(0.05)
        workers = workers_of(process.pid)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command to resume" in errors
    assert workers
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    check_what_is_visible(tmp_path)


@pytest.mark.nightly
def test_a_byte_that_flips_in_any_stage_is_noticed_and_computed_again(
    tmp_path: Path, undisturbed_ddgda: Undisturbed
) -> None:
    finish(tmp_path, *DDGDA)
    # A fit that is kept is read when its window grows: tests/run/test_growth.py damages it.
    for stage in sorted(path for path in (tmp_path / "store").iterdir() if path.is_dir() and path.name != "fit"):
        for entry in sorted(path for path in stage.iterdir() if not path.name.startswith("."))[:2]:
            victim = max(
                (p for p in entry.rglob("*") if p.is_file() and p.name != "manifest.json"),
                key=lambda p: p.stat().st_size,
            )
            content = bytearray(victim.read_bytes())
            content[len(content) // 2] ^= 1
            victim.write_bytes(content)
    shutil.rmtree(tmp_path / "runs")
    finish(tmp_path, *DDGDA)
    assert snapshots(tmp_path) == undisturbed_ddgda[0]
    check_what_is_visible(tmp_path)


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a cluster, which their nannies in the main process have spawned."""
    found = []
    for child in children(pid):
        command = Path(f"/proc/{child}/cmdline")
        if command.exists() and b"spawn_main" in command.read_bytes():
            found.append(child)
    return found


def children(pid: int) -> list[int]:
    """Return the processes that any thread of a process has started."""
    if not Path(f"/proc/{pid}/task/{pid}/children").exists():
        pytest.skip("this system does not tell the children of a process")
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB that can be made full and read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.nightly
def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "ballast").write_bytes(b"." * 3_500_000)
    where = [f"output.store={small_disk}/store", f"output.runs={tmp_path}/runs"]
    with start(tmp_path, *where, "adaptation=rolling_retrain") as process:
        _, errors = process.communicate(timeout=300)
    assert "The artifact store cannot be written." in errors
    assert "bench cache gc" in errors
    assert "Traceback" not in errors
    assert not list((small_disk / "store").rglob(".making-*"))
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    finish(tmp_path, *where)


@pytest.mark.nightly
def test_a_store_made_read_only_still_gives_what_it_holds(
    small_disk: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    where = [f"output.store={small_disk}/store", f"output.runs={tmp_path}/runs"]
    finish(tmp_path, *where)
    shutil.rmtree(tmp_path / "runs")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    finish(tmp_path, *where)
    assert snapshots(tmp_path) == undisturbed[0]
    with start(tmp_path, *where, "adaptation=rolling_retrain", "model.alpha=7") as process:
        _, errors = process.communicate(timeout=300)
    assert "The artifact store cannot be written." in errors
    assert "Traceback" not in errors

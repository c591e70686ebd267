"""The process of a command ends as any Python program does, only sooner."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

BEFORE = "import atexit, concurrent.futures, sys, threading, time, harness.cli\n"


def ended(body: str, code: str = "3") -> subprocess.CompletedProcess[str]:
    """Run a process whose command is `body` and returns `code`."""
    lines = "".join(f"    {line}\n" for line in (*body.splitlines(), f"return {code}"))
    text = f"{BEFORE}def main():\n{lines}harness.cli.main = main\nharness.cli.command()\n"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)


def test_the_exit_code_is_the_command_s() -> None:
    assert [ended("pass", code).returncode for code in ("0", "1", "2", "130")] == [0, 1, 2, 130]


def test_what_was_printed_last_is_written() -> None:
    done = ended("print('x' * 100_000, end=''); print('y', end='', file=sys.stderr)")
    assert (len(done.stdout), done.stderr, done.returncode) == (100_000, "y", 3)


def test_what_is_registered_for_the_end_runs() -> None:
    assert ended("atexit.register(print, 'at the end')").stdout == "at the end\n"


OPENED = {
    "log": ("open({!r}, 'w')", "write('fitted')", lambda path: path.read_text()),
    "compressed": ("__import__('gzip').open({!r}, 'wt')", "write('fitted')", lambda path: gzip.open(path, "rt").read()),
    "archive": (
        "__import__('zipfile').ZipFile({!r}, 'w')",
        "writestr('name', 'fitted')",
        lambda path: zipfile.ZipFile(path).read("name").decode(),
    ),
}


@pytest.mark.parametrize("kind", OPENED)
def test_what_a_user_s_module_has_opened_and_closes_nowhere_is_whole(tmp_path: Path, kind: str) -> None:
    known = "import harness.store.code_digest as digests; digests.knows_code_of_users = lambda: True\n"
    opened, written, read = OPENED[kind]
    done = ended(f"{known}harness.log = {opened.format(str(tmp_path / 'log'))}; harness.log.{written}")
    assert (done.returncode, done.stderr, read(tmp_path / "log")) == (3, "", "fitted")


@pytest.mark.parametrize(
    "body",
    [
        "threading.Thread(target=lambda: (time.sleep(0.2), print('done'))).start()",
        "concurrent.futures.ThreadPoolExecutor(2).submit(lambda: (time.sleep(0.2), print('done')))",
    ],
    ids=["thread", "pool that nobody closes"],
)
def test_work_in_threads_is_waited_for(body: str) -> None:
    assert ended(body).stdout == "done\n"


def test_a_thread_that_only_serves_is_not_waited_for() -> None:
    assert ended("threading.Thread(target=time.sleep, args=(600,), daemon=True).start()").returncode == 3


@pytest.mark.parametrize(("body", "told"), [("raise ValueError('no')", "ValueError: no"), ("sys.exit('no')", "no")])
def test_what_a_command_raises_ends_it_as_any_program(body: str, told: str) -> None:
    done = ended(body)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, told)


def test_garbage_is_collected_less_often_and_threads_take_turns_sooner() -> None:
    done = ended("import gc; print(gc.isenabled(), gc.get_threshold()[0] > 100_000, sys.getswitchinterval() < 0.001)")
    assert done.stdout == "True True True\n"

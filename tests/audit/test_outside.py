"""What nobody declared is named, however it is opened; what a process has written itself is not."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

# What a fresh process opens → what is said of it; `answers` is there before, `own` is not.
OPENED = {
    "open(answers).read()": "the file",
    "open(answers, 'r+').write('x')": "the file",
    "os.open(answers, os.O_RDWR)": "the file",
    "sqlite3.connect(answers)": "the file",
    "SharedMemory('TOLD')": "the file",
    "open('/proc/1/environ')": "the file",
    "socket.create_connection(('127.0.0.1', 9), 0.1)": "the network",
    "subprocess.run(['cat', answers], stdout=subprocess.DEVNULL)": "the program cat",
    "os.posix_spawn('/bin/cat', ['cat', '/dev/null'], {})": "the program cat",
    "os.spawnv(os.P_WAIT, '/bin/cat', ['cat', '/dev/null'])": "the program cat",
    "os.system('cat /dev/null')": "the program cat",
    "ctypes.CDLL(None)": "the system through ctypes",
    "open(own, 'w').write('x'), open(own).read(), open(own, 'r+')": None,
    "open(answers, 'w').write('x'), open(answers).read()": None,
    "open(answers, 'a').write('x')": None,
    "sqlite3.connect(':memory:')": None,
    "SharedMemory(create=True, size=8).unlink()": None,
    "open('/dev/urandom', 'rb').read(4), time.time(), os.listdir('/')": None,
    "open(declared).read()": None,
}
SCRIPT = """
import ctypes, mmap, os, socket, sqlite3, subprocess, sys, time
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from harness.audit.watch import Watch
folder = sys.argv[1]
declared = f"{folder}/declared/file"
watch = Watch([Path(folder, "declared")], Path(folder, "heard"))
time.sleep(0.1)
watch.began = time.time() - 0.05
watch.begin()
for at, code in enumerate(sys.argv[2:]):
    answers, own = f"{folder}/answers-{at}", f"{folder}/own-{at}"
    os.truncate(watch.log, 0)
    with suppress(OSError, sqlite3.Error):
        eval(compile(code, f"{folder}/code.py", "eval"))
    print(" ".join(watch.heard()))
"""


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each piece of code, and what was heard while one fresh process ran it."""
    from multiprocessing.shared_memory import SharedMemory

    folder, found = tmp_path_factory.mktemp("outside"), {}
    (folder / "declared").mkdir()
    (folder / "declared" / "file").write_text("x")
    shared = SharedMemory(create=True, size=8)
    try:
        for at in range(len(OPENED)):
            (folder / f"answers-{at}").write_text("")
        codes = [code.replace("TOLD", shared.name) for code in OPENED]
        command = [sys.executable, "-c", SCRIPT, str(folder), *codes]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        found = dict(zip(OPENED, said.stdout.split("\n"), strict=False))
    finally:
        shared.close()
        with suppress(FileNotFoundError):  # the other process's tracker has taken it for its own
            shared.unlink()
    return found


@pytest.mark.parametrize("code", OPENED)
def test_a_process_is_heard(heard: dict[str, str], code: str) -> None:
    expected = OPENED[code]
    if expected is None:
        assert heard[code] == ""
    else:
        assert heard[code].startswith(expected)

"""What nobody declared is named, however it is opened; what a process has written itself is not."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from harness.audit import sandbox
from harness.audit.watch import CODE, INSTALLED

# What a fresh process opens → what is said of it; `answers` is there before, `own` is not.
OPENED = {
    "open(answers).read()": "the file",
    "open(answers, 'r+').write('x')": "the file",
    "os.open(answers, os.O_RDWR)": "the file",
    "os.getxattr(answers, 'user.told')": "the file",
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


# What a process does in the sandbox → whether the kernel lets it; the C library and Arrow raise no audit event.
HELD = {
    "libc.fopen(told.encode(), b'rb') or refuse()": False,
    "pyarrow.memory_map(told).read()": False,
    "open(beside + '/data.csv').read()": False,
    "open(beside + '/module.py').read()": True,
    "open(beside + '/module.py', 'a')": False,
    "os.listdir(elsewhere)": False,
    "open(elsewhere + '/log', 'w')": False,
    "subprocess.run(['cat', told], check=True, capture_output=True)": False,
    "libc.fopen(declared.encode(), b'rb') or refuse()": True,
    "pyarrow.memory_map(declared).read()": True,
    "open(own + '/scratch', 'w').write('x'), open(own + '/scratch').read()": True,
    "multiprocessing.Lock().acquire()": True,
    "threading.Thread(target=print).start()": True,
    "open('/proc/self/status').read(), open('/dev/urandom', 'rb').read(1)": True,
    "socket.create_connection(('192.0.2.1', 9), 3)": False,
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))": False,
}
ENTERING = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("sandbox", sys.argv[1])
sandbox = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sandbox)
why = sandbox.enter(json.loads(sys.argv[2]))
import ctypes, multiprocessing, os, socket, subprocess, threading, pyarrow
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
def refuse():
    raise OSError("no handle")
names = json.loads(sys.argv[3])
found = [why]
for code in sys.argv[4:]:
    try:
        eval(code, globals(), names)
        found.append(True)
    except (OSError, subprocess.CalledProcessError):
        found.append(False)
print("\\n" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Each piece of code, and whether one process in the sandbox could run it."""
    if not (probe := sandbox.without_network()) or sandbox.unavailable():
        pytest.skip("this system has no Landlock, or gives no namespaces")
    folder = tmp_path_factory.mktemp("sandbox")
    names = {name: str(folder / name) for name in ("beside", "elsewhere", "own", "told", "declared")}
    for name in ("beside", "elsewhere", "own"):
        (folder / name).mkdir()
    for name in ("told", "declared", "beside/module.py", "beside/data.csv"):
        (folder / name).write_text("x")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(names["beside"])
        granted = sandbox.grants(INSTALLED, CODE, [folder / "own"], [folder / "declared"])
    given = [json.dumps(one) for one in (granted, names)]
    command = [*probe, sys.executable, "-c", ENTERING, sandbox.__file__, *given, *HELD]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=names["own"])
    why, *found = json.loads(next(line for line in said.stdout.splitlines() if line.startswith("[")))
    assert why == ""
    return dict(zip(HELD, found, strict=True))


@pytest.mark.parametrize("code", HELD)
def test_the_kernel_refuses_what_was_not_declared_whoever_opens_it(held: dict[str, bool], code: str) -> None:
    assert held[code] is HELD[code]


def test_without_the_library_a_process_is_not_held_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "landlock", None)
    nothing: sandbox.Grants = {"read": [], "list": [], "write": []}
    assert sandbox.enter(nothing) == sandbox.unavailable() == "the package landlock is not installed"

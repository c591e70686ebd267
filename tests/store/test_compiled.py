"""Kernels are compiled in one place, and can be imported where nothing can be written."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_CODE = """\
from harness.store.compiled import compiled
import harness.features.kernels, harness.evaluation.significance.resampling, baselines.models.linear
harness.features.kernels.blank.dispatcher()
print(harness.features.kernels.__file__)
"""


def test_every_kernel_is_compiled_by_the_one_function() -> None:
    found = []
    for path in sorted([*(ROOT / "harness").rglob("*.py"), *(ROOT / "baselines").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", None))
            if name in ("njit", "jit", "vectorize", "guvectorize", "stencil") and path.name != "compiled.py":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
    assert not [place for place in found if "torch" not in Path(ROOT / place.partition(":")[0]).read_text()]


_GENERATOR = """\
from harness.store.compiled import compiled
@compiled()
def walk(n):
    for at in range(n):
        yield at
@compiled()
def total(n):
    found = 0
    for at in walk(n):
        found += at
    return found
@compiled()
def count(n):
    found = 0
    for at in walk(n):
        found += 1
    return found
"""


def test_a_kernel_that_walks_a_generator_is_compiled_after_another_process_has_compiled_one(tmp_path: Path) -> None:
    (tmp_path / "own_kernels.py").write_text(_GENERATOR, encoding="utf-8")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    for name, expected in (("total", "45"), ("count", "10"), ("total", "45")):
        command = [sys.executable, "-c", f"import own_kernels; print(own_kernels.{name}(10))"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.stdout.strip() == expected, ended.stderr


_CALLED = """\
import numpy as np
from harness.store.compiled import compiled
@compiled()
def doubled(values):
    found = np.empty(values.size)
    for at in range(values.size):
        found[at] = 2 * values[at]
    return found
@compiled()
def total(values):
    return doubled(values).sum() + np.linalg.norm(values)
"""


def test_a_cached_kernel_is_read_without_what_compiles_and_what_compiles_finds_it_afterwards(tmp_path: Path) -> None:
    (tmp_path / "own_kernels.py").write_text(_CALLED, encoding="utf-8")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    def run(*lines: str) -> list[str]:
        head = "import sys, numpy as np, own_kernels as own"
        command = [sys.executable, "-c", "\n".join((head, *lines))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    first = "print(own.doubled(np.ones(2)).sum(), 'numba.np.linalg' in sys.modules)"
    assert run(first) == ["4.0", "True"]
    assert run(first) == ["4.0", "False"]  # read from the cache
    whole = "print(round(own.total(np.ones(4)), 9), own.doubled(np.ones(3, np.int32)).sum())"
    assert run(first, whole) == ["4.0", "False", "10.0", "6.0"]  # read, then one that calls it compiled, and its twin
    assert run(whole, first) == ["10.0", "6.0", "4.0", "True"]  # all read; this one asks for what multiplies matrices
    fails = (
        "from numba.core.caching import FunctionCache as Cache",
        "read, failed = Cache._load_overload, []",
        "def fail_once(self, *given):",
        "    if not failed:",
        "        raise KeyError(failed.append(1))",
        "    return read(self, *given)",
        "Cache._load_overload = fail_once",
    )
    assert run(*fails, first) == ["4.0", "True"]  # as Numba reads it


def test_features_are_computed_by_cached_kernels_without_what_compiles() -> None:
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from harness.data.sources.synthetic import SyntheticMarket\n"
        "from harness.features.engine import compute_features\n"
        "from harness.features.feature_set import Alpha158\n"
        "from harness.samples.column_statistics import rank_norm\n"
        "panel = SyntheticMarket(instruments=12, days=300, members=10).load()\n"
        "compute_features(panel, Alpha158().feature_set(), np.arange(301), np.zeros(300, np.int32))\n"
        "rank_norm(np.ones((4, 1), np.float32), np.array([0, 4]), 1.0)\n"
        "print('numba.np.linalg' in sys.modules, 'numba.np.arraymath' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    for _ in range(2):  # the first may compile
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the source that nobody may write to."""
    folder = tmp_path_factory.mktemp("installed")
    for name in ("harness", "baselines", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def load(installation: Path, tmp: Path, home: str | None = "/proc/nohome") -> subprocess.CompletedProcess[str]:
    """Import kernels from the copy as a user whom permissions bind."""
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to give that up")
        rights = "-dac_override,-dac_read_search,-fowner"
        drop = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")}
    environment |= {"PYTHONPATH": str(installation), "TMPDIR": str(tmp), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {} if home is None else {"HOME": home}
    return subprocess.run(
        [*drop, sys.executable, "-c", _CODE], env=environment, cwd=tmp, capture_output=True, text=True, check=False
    )


def test_a_read_only_installation_without_a_home_keeps_compiled_code_in_a_private_folder_and_says_so_once(
    installation: Path, tmp_path: Path
) -> None:
    done = load(installation, tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(installation) in done.stdout
    assert done.stderr.count("bench: compiled code is kept in") == done.stderr.count("\n") == 1
    (folder,) = tmp_path.glob("driftbench-*")
    assert folder.stat().st_mode & 0o077 == 0
    assert "numba" in next(path.name for path in folder.iterdir())


def test_with_no_place_at_all_it_compiles_anew_and_says_so_once(installation: Path, tmp_path: Path) -> None:
    stranger = tmp_path / f"driftbench-{os.getuid()}"
    stranger.mkdir()
    stranger.chmod(0o777)  # anybody could have put code there
    done = load(installation, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("bench: compiled code is kept nowhere") == done.stderr.count("\n") == 1
    assert list(stranger.iterdir()) == []


def test_a_read_only_installation_with_a_home_says_nothing(installation: Path, tmp_path: Path) -> None:
    done = load(installation, tmp_path, home=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


# Runs an experiment, and prints every kernel that was compiled twice for what differs in nothing but layout.
_LAYOUTS = """\
import re, sys
from collections import Counter
from harness.cli import main
from harness.store.compiled import Kernel

assert main(sys.argv[1:]) == 0
import numba, numpy as np

def plain(kind):
    return re.sub(r"'[ACF]', (True|False)", "", repr(kind))

odd = np.zeros((6, 6)).T[::2]
odd.setflags(write=False)
assert plain(numba.typeof(odd)) == plain(numba.typeof(np.zeros((2, 2)))) != repr(numba.typeof(odd))
kernels = {
    kernel for name, module in list(sys.modules.items()) if name.partition(".")[0] in ("harness", "baselines")
    for value in list(vars(module).values()) if (kernel := getattr(value, "_compiled", value)) is not None
    and isinstance(kernel, numba.core.dispatcher.Dispatcher)
}
names = set()
for kernel in kernels:
    called = Counter(map(plain, kernel.signatures))
    names |= {f"{kernel.__module__}.{kernel.__name__}"} if called else set()
    for signature, count in called.items():
        if count > 1:
            print("twice:", kernel.__name__, signature)
print("kernels:", *sorted(names))
"""


def test_a_run_compiles_no_kernel_twice_for_arrays_of_other_layouts(tmp_path: Path) -> None:
    # Compiling takes most of the first minute, and each copy is read again by every later process.
    overrides = ["experiment=quick", "model=linear", "evaluation=portfolio"]
    command = [sys.executable, "-c", _LAYOUTS, "run", "-q", *overrides]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "twice" not in ended.stdout
    compiled = ended.stdout.rpartition("kernels:")[2].split()
    wanted = {"features.kernels.moments", "samples.medians._bracketed", "evaluation.significance.resampling._walk"}
    assert {f"harness.{name}" for name in wanted} <= set(compiled)

"""A fresh process: an interpreter that is handed one world after the other and has never seen another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.audit.world import OUTCOME, World

# What of the environment says where things are and how many threads there may be: all else could be knowledge.
_KEPT = ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
_KEPT_FAMILIES = ("LC_", "PYTHON", "DYLD_", "OMP_", "MKL_", "OPENBLAS_", "NUMBA_", "KMP_", "CUDA_", "COVERAGE_")
_MAIN = "from harness.audit.world import main; main()"
_SHOWN = 300  # characters of what a process says that ends too soon


class FreshProcess:
    """Answers worlds in a new interpreter, in a folder of its own, with nothing of this one's environment.

    Worlds come in the order of their cuts, so that it has never seen what lies beyond one of them.
    """

    def __init__(self, folder: Path, real: Sequence[str], declared: Sequence[str] = ()) -> None:
        """Take a folder that is not there yet, the classes that load the real data, and what may be read beside it."""
        self.folder = folder
        folder.mkdir()
        self._errors = folder / "errors.txt"
        text = json.dumps({"real": list(real), "declared": list(declared)})
        (folder / "setup.json").write_text(text, encoding="utf-8", newline="\n")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        if kind is not None:
            process.kill()
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended by itself
        process.wait()
        process.stdout.close()

    def ask(self, world: World) -> dict[str, Any]:
        """Return the outcome of a world; its ``error`` says what stopped it, ``opened`` what it opened undeclared."""
        folder = Path(world.folder)
        (folder / "world.json").write_text(json.dumps(asdict(world)), encoding="utf-8", newline="\n")
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(world.folder) + "\n")
            process.stdin.flush()
            answered = process.stdout.readline()
        except BrokenPipeError:
            answered = ""
        if not answered:
            self._process = None
            process.wait()
            said = self._errors.read_text(encoding="utf-8", errors="replace").strip()[-_SHOWN:]
            return {"error": f"the process ended with code {process.returncode}: {said}", "opened": []}
        outcome: dict[str, Any] = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
        return outcome

    def _started(self) -> subprocess.Popen[str]:
        paths = [os.path.abspath(path) for path in sys.path]
        kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_FAMILIES)}
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        environment = {**kept, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(scratch)}
        command = [sys.executable, "-P", "-c", _MAIN, str(self.folder)]
        with self._errors.open("w", encoding="utf-8") as errors:
            return subprocess.Popen(
                command,
                cwd=scratch,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )

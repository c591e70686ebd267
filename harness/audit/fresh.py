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

from harness.audit import sandbox
from harness.audit.watch import CODE, INSTALLED
from harness.audit.world import OUTCOME, World

# What of the environment says where things are and how many threads there may be: all else could be knowledge.
_KEPT = ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
_KEPT_FAMILIES = ("LC_", "PYTHON", "DYLD_", "OMP_", "MKL_", "OPENBLAS_", "NUMBA_", "KMP_", "CUDA_", "COVERAGE_", "XDG_")
_SHOWN = 300  # characters of what a process says that ends too soon


class FreshProcess:
    """Answers worlds in a new interpreter, in a folder of its own, with nothing of this one's environment.

    Worlds come in the order of their cuts, so that it has never seen what lies beyond one of them. Where the system
    has a sandbox it works in one, see `harness.audit.sandbox`.

    Attributes:
        held: What keeps it from the files and the network, in words, once it has begun.
    """

    def __init__(self, folder: Path, real: Sequence[str], declared: Sequence[str] = ()) -> None:
        """Take a folder that is not there yet, the classes that load the real data, and what may be read beside it."""
        self.folder, self.held = folder, ""
        folder.mkdir()
        self._errors, self._scratch = folder / "errors.txt", folder / "scratch"
        self._scratch.mkdir()
        self._real, self._declared = list(real), list(declared)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "world.json").write_text(json.dumps(asdict(world)), encoding="utf-8", newline="\n")
        process = self._process = self._process or self._begun()
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

    def _begun(self) -> subprocess.Popen[str]:
        """Start a process, in the sandbox; where it does not begin there, without."""
        declared = [Path(path) for path in self._declared]
        given = sandbox.grants(INSTALLED, CODE, [self.folder], declared) if sys.platform == "linux" else {}
        for grants, before in ((given, sandbox.without_network() if given else ()), ({}, ())):
            process = self._started(grants, before)
            assert process.stdout is not None
            said = process.stdout.readline()
            if said:
                break
            process.wait()
        files = "no file is opened but what is declared" if given and said == '""\n' else "files are heard of"
        why = json.loads(said or '"it did not begin"') if files.startswith("files") else ""
        network = "there is no network" if before else "the network is heard of"
        self.held = f"{files}, {network}{f': {why}' if why else ''}"
        return process

    def _started(self, grants: sandbox.Grants, before: Sequence[str]) -> subprocess.Popen[str]:
        text = json.dumps({"real": self._real, "declared": self._declared, "grants": grants})
        (self.folder / "setup.json").write_text(text, encoding="utf-8", newline="\n")
        paths = [os.path.abspath(path) for path in sys.path]
        kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_FAMILIES)}
        environment = {**kept, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(self._scratch)}
        command = [*before, sys.executable, "-P", sandbox.__file__, str(self.folder)]
        with self._errors.open("w", encoding="utf-8") as errors:
            return subprocess.Popen(
                command,
                cwd=self._scratch,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )

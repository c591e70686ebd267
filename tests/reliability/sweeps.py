"""A small sweep in a process of its own, to be disturbed, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.reliability.counted import LOG

SWEEP = [
    *["data.instruments=24", "data.days=480", "data.members=16", "label.horizon=5", "windows.step=20"],
    *["adaptation=rolling_retrain,incremental", "model._target_=tests.reliability.counted.CountedLinear"],
]
DDGDA = [
    *["adaptation=rolling_retrain,ddgda", "adaptation.hist_step_n=4", "adaptation.max_epoch=2"],
    *["adaptation.fea_imp_n=5", "adaptation.choice_gbdt.rounds=3", "adaptation.loss_skip_thresh=5"],
]
CELLS = 2
_MAIN = "from harness.cli import command; command()"


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start the sweep on the store and runs of a folder; every fit is a line of its file ``fits``."""
    folder.mkdir(parents=True, exist_ok=True)
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, "run", "-m", *SWEEP, *where, *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A job in the background of a shell ignores Ctrl-C, and so would whatever it starts.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGHUP)] and None,
        env=os.environ | {"PYTHONWARNINGS": "default", LOG: str(folder / "fits")},
    )


def finish(folder: Path, *overrides: str) -> None:
    """Run the sweep to its end."""
    with start(folder, *overrides) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def snapshots(folder: Path) -> dict[str, object]:
    """Return every snapshot by its run, without provenance."""
    found = {}
    for path in sorted((folder / "runs").glob("*/snapshot.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        del record["provenance"], record["seal"]
        found[path.parent.name] = record
    assert len(found) == CELLS
    return found


def made(folder: Path, stage: str = "window") -> dict[str, int]:
    """Return result → time at which it was made, of a stage; a result that is made again has another time."""
    manifests = (folder / "store" / stage).glob("[!.]*/manifest.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in manifests}


def finished_windows(folder: Path, stage: str = "window") -> set[str]:
    """Return the windows that the store holds, as `fits` tells them; with ``fit`` those whose fit is kept."""
    found = set()
    for path in (folder / "store" / stage).glob("[!.]*/manifest.json"):
        parts = json.loads(path.read_text(encoding="utf-8"))["parts"]
        train = ["chain", parts["train"][1]] if "planner" in parts else parts["train"]
        found.add(json.dumps([train, parts["weights"]]))
    return found


def fits(folder: Path) -> list[str]:
    """Return the window of every fit so far, in order."""
    path = folder / "fits"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def scratch(folder: Path) -> list[Path]:
    """Return what is half-written."""
    return list((folder / "store").rglob(".making-*"))

"""Peak memory and seconds as a panel grows: `make scale` writes docs/reference/scale.md, its points and its plot.

    python -m tests.benchmarks.scale_bench --size 1/8 --size 1/4 --job rr

Each point is a process of its own with an empty store, under a limit on private memory (RLIMIT_DATA: an allocation
beyond it fails): from prices to snapshot on a simulated market whose instruments are the given share of 5,000. Points
that were measured before are kept, and a new one takes the place of the old.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil

from harness.execution.machine import machine
from harness.store.files import write_atomically
from tests.benchmarks.peer_bench import BENCH, ROOT

DAYS, INSTRUMENTS = 4000, 5000
JOBS = {
    "rr": ("RR[Linear]", ["adaptation=rolling_retrain", "model=linear"]),
    "ddgda": ("DDG-DA[Linear], linear proxies", ["adaptation=ddgda", "model=linear"]),
    "rr_lightgbm": (
        "RR[LightGBM], 3 trees, the last window",
        ["model=lightgbm", "model.num_boost_round=3", "windows.split=[0.75,0.245,0.005]"],
    ),
}
_HOW = """## What is never held as a whole

- Features are computed a few time chunks at a time, about 1 GB of them, stored, and read as mapped files, of which
  about 1 GB stay open.
- Where the features of a panel take more than 1 GB, and in a run alone of a linear model, processors run on each slice
  when it is read. Medians take two passes over the rows (ranks of a sample bracket each, what lies within is sorted),
  means and extremes sums by slice.
- Sums for linear models, similarity, and LightGBM's binned data are made of slices. LightGBM draws the same sample for
  its bins as from an array, so the trees have the same bits.

## What still is

- The panel itself, instruments × days of each field: mapped, 4 bytes a value.
- What other models than `linear` and `lightgbm` learn from, LightGBM proxies (`sim_task_model=gbdt`), what a
  preprocessor other than `harness.preprocess.Pipeline` is given, and processors of your own that learn without
  `by_slices = True`.
- Features that read all of the past, such as `EMA`: they are computed in one pass.
"""
_PACKAGES = ("numpy", "numba", "scipy", "lightgbm", "torch")
_EVERY = 0.25  # seconds between two looks at private memory
_COLOURS = ("#2962a5", "#c2571a", "#3b8a4f")
_WIDTH, _HEIGHT, _EDGE = 340, 260, 48


@dataclass(frozen=True)
class Point:
    """One run: GB are 10⁹ bytes; `private` is what the process holds alone, `peak` counts mapped files too."""

    job: str
    instruments: int
    rows: int
    seconds: float
    processor: float
    peak: float
    private: float
    machine: str


def measured(job: str, instruments: int, limit: float) -> Point:
    """Run a job once, held to `limit` GB of private memory.

    Raises:
        RuntimeError: When it fails, with the end of what it wrote.
    """
    market = [f"data.{name}={n}" for name, n in (("instruments", instruments), ("members", instruments))]
    folder = Path(tempfile.mkdtemp())
    command = [*BENCH, "run", "-q", "data=synthetic", *market, f"data.days={DAYS}", *JOBS[job][1]]
    private = 0.0

    def watch(pid: int) -> None:
        nonlocal private
        status = Path(f"/proc/{pid}/status")
        while not done.wait(_EVERY) and status.exists():
            held = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("RssAnon:")]
            private = max(private, *(int(text) * 1024 / 1e9 for text in held), 0.0)

    def hold() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e9), int(limit * 1e9)))

    done, log = threading.Event(), folder / "log"
    try:
        with log.open("w") as out:
            began = time.perf_counter()
            process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, preexec_fn=hold)
            watcher = threading.Thread(target=watch, args=(process.pid,))
            watcher.start()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - began
            done.set()
            watcher.join()
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}:\n{log.read_text()[-3000:]}")
        # By the head of the stored label.
        rows = max(int(np.load(path, mmap_mode="r").size) for path in folder.glob(".bench/store/label/*/record-0.npy"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    cost = used.ru_utime + used.ru_stime
    return Point(
        job, instruments, rows, seconds, cost, used.ru_maxrss * 1024 / 1e9, private, str(machine()["processor"])
    )


def table(points: Sequence[Point]) -> list[str]:
    """Return the lines of a Markdown table."""
    head = "| job | instruments | rows | wall | processor time | peak memory | of it private |"
    lines = [head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for one in points:
        cost = f"{one.seconds:,.0f} s | {one.processor:,.0f} s | {one.peak:.1f} GB | {one.private:.1f} GB"
        lines.append(f"| {JOBS[one.job][0]} | {one.instruments:,} | {one.rows / 1e6:.2f} million | {cost} |")
    return lines


def plot(points: Sequence[Point]) -> str:
    """Return an SVG of two panels over the rows: peak memory, and processor seconds."""
    panels = (("peak memory, GB", "peak"), ("processor time, s", "processor"))
    most = max(one.rows for one in points)
    parts = []
    for at, (title, name) in enumerate(panels):
        high = max(float(getattr(one, name)) for one in points)
        left, right, top, base = at * _WIDTH + _EDGE, (at + 1) * _WIDTH - 12, 28, _HEIGHT - 36
        parts.append(f'<text x="{left}" y="16">{title}</text>')
        parts.append(f'<path d="M{left} {top}V{base}H{right}" fill="none" stroke="currentColor"/>')
        parts.append(f'<text x="{left - 6}" y="{top + 8}" text-anchor="end">{high:.3g}</text>')
        parts.append(f'<text x="{left - 6}" y="{base}" text-anchor="end">0</text>')
        parts.append(f'<text x="{right}" y="{base + 16}" text-anchor="end">{most / 1e6:.3g} million rows</text>')
        for job, colour in zip(JOBS, _COLOURS, strict=True):
            own = [one for one in points if one.job == job]
            xy = [
                (left + (right - left) * one.rows / most, base - (base - top) * getattr(one, name) / high)
                for one in own
            ]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in xy)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in xy]
    for at, (job, colour) in enumerate(zip(JOBS, _COLOURS, strict=True)):
        if any(one.job == job for one in points):
            parts.append(f'<text x="{_EDGE + 230 * at}" y="{_HEIGHT - 4}" fill="{colour}">{JOBS[job][0]}</text>')
    style = 'font-family="sans-serif" font-size="12" fill="currentColor"'
    size = f'viewBox="0 0 {2 * _WIDTH} {_HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def document(points: Sequence[Point], limit: float) -> str:
    """Return the page."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    about = f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB; {versions}"
    wanted, missing = [INSTRUMENTS // part for part in (8, 4, 2, 1)], []
    for job, (title, _) in JOBS.items():
        left = [n for n in wanted if not any((one.job, one.instruments) == (job, n) for one in points)]
        if left:
            missing.append(f"- Not measured: {title} with {', '.join(f'{n:,}' for n in left)} instruments.")
    text = f"""# Panels that do not fit into memory

Written by `python -m tests.benchmarks.scale_bench`.

From prices to snapshot with an empty store: Alpha158 (158 features) on {DAYS:,} days of a simulated market, horizon and
step of 20 days, one process, held to {limit:g} GB of private memory (`RLIMIT_DATA`: what goes beyond it fails). Peak
memory is the largest resident set; it counts pages of mapped files, which the system may take back at any time.
Processor time counts all threads; wall time also what else the machine did.

Machine: {about}.

![Peak memory and processor time over the rows](../images/scale.svg)

"""
    lines = table(points)
    return text + "\n".join([*lines, "", *missing, "", *_HOW.splitlines()]) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Measure the points asked for, and write page, points and plot."""
    parser = ArgumentParser(prog="python -m tests.benchmarks.scale_bench")
    parser.add_argument("--size", type=Fraction, action="append", help=f"share of {INSTRUMENTS} instruments: 1/8 …")
    parser.add_argument("--job", choices=tuple(JOBS), action="append", help="rr and ddgda by default")
    parser.add_argument("--limit-gb", type=float, default=8.0, help="private memory that a run may have")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    asked = parser.parse_args(arguments)
    kept = asked.docs / "reference" / "scale.json"
    points = [Point(**one) for one in json.loads(kept.read_text())] if kept.is_file() else []
    for job in asked.job or ("rr", "ddgda"):
        for size in asked.size or ():
            new = measured(job, int(INSTRUMENTS * size), asked.limit_gb)
            sys.stderr.write("\n".join(table([new])[2:]) + "\n")
            points = [one for one in points if (one.job, one.instruments) != (new.job, new.instruments)] + [new]
            points.sort(key=lambda one: (list(JOBS).index(one.job), one.instruments))
            write_atomically(kept, (json.dumps([asdict(one) for one in points], indent=1) + "\n").encode())
    write_atomically(asked.docs / "images" / "scale.svg", plot(points).encode())
    write_atomically(asked.docs / "reference" / "scale.md", document(points, asked.limit_gb).encode())


if __name__ == "__main__":
    main(sys.argv[1:])

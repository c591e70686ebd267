"""Where the seconds of RR[Linear] go, and how far each stage is from what the machine can do.

    python -m tests.benchmarks.limits

Runs the main job on the CSI 300 in this process with an empty store and writes docs/reference/limits.md. Seconds are
processor time, of all threads: they depend little on what else the machine does. Beside them stands what the stage must
move or compute at least, at the speed that one core of this machine reaches in a loop that does nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import platform
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.cli import main, tune

_BEGAN = time.process_time()
tune()

import numpy as np  # noqa: E402
import pyarrow.parquet as parquet  # noqa: E402

from harness.execution.machine import machine  # noqa: E402
from harness.store.files import write_atomically  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "limits.md"
COMMAND = ["run", "-q", "experiment=rr_linear"]
_LARGE, _SMALL = 1 << 27, 1 << 14  # values: of an array that no cache holds, and of one that fits into the second
_ROWS = 160  # of the normal equations, about
_HOT = 0.2  # seconds from which a stage is explained
_SPEEDS = {
    "memory": "copying in memory",
    "cache": "adding in the cache",
    "file": "writing to a file",
    "SHA-256": "SHA-256",
    "BLAKE2b": "BLAKE2b",
    "additions": "which are",
    "operations": "a product of matrices",
    "eigenvalues": "eigenvalues and vectors of 160 rows",
    "new": "writing memory that is new to the process",
    "mapped": "reading a mapped file for the first time",
    "Parquet": "decoding Parquet",
}
_PAGE = """# Where the seconds go, and the limit

Written by `python -m tests.benchmarks.limits`.

RR[Linear] with portfolio on the CSI 300 from an empty store: {total:.1f} s of processor time, all threads. They are
upper bounds where the machine does other work too, as this one did ({wall:.0f} s of wall time). The limit is what a
stage has to move and to compute at least, at the speed that a loop reaches which does nothing else, measured by the
same command in the same minute; the factor is what is left. What threads do beside the main one is charged to the
stage that it is in, unless it is a stage itself.

Machine: {machine}. One core reaches: {reached}.

| stage | seconds | moves or computes | limit | factor |
| --- | ---: | --- | ---: | ---: |
{table}

Factors above 3, and stages that have no such limit:

{notes}
"""
_FEATURES, _SUMS, _WRITTEN, _CHECKED = "features", "sums of blocks", "writing arrays", "checksums"
_LINKED = "linking kernels"
# Additions, or comparisons, for each value of the longest window, of which the shorter ones are a part; of a quantile,
# of every window, with what leaves it and what enters; of an extreme, each time that two windows become one. They are
# summed on their own, so that a chunk's bits depend on nothing before it.
_ADDED = {"moments": 2, "trend": 6, "comovement": 6, "quantile": 2}
_ADDED |= {"rank": 3, "extreme": 1, "extreme_position": 2}
_NOTES = {
    "reading the panel": "each row's instrument and time are looked up, keys that repeat are looked for, and fields "
    "are scattered over the calendar: the limit counts what is read and written only",
    _FEATURES: "each value is tested for being missing, quantiles keep their window in order, and results are divided: "
    "the limit counts none of that",
    _WRITTEN: "a file is written through NumPy's buffer, and its pages are new to the system",
    "digests by time": "values are tested for being missing and put in the order of their times, and each time is "
    "hashed on its own",
    "fingerprints": "values are copied, so that all that is missing is one NaN and a zero has no sign",
    "predictions": "rows are processed when they are forecast",
    "processors": "medians and median deviations of 158 columns; of what is near either, which a sample tells, values "
    "are kept and sorted",
    _SUMS: "rows are processed before they are summed: a median is taken away, a number divided by, extremes are cut",
    "imports": "NumPy, Arrow, Hydra, pydantic, and 110 modules of this project",
    _LINKED: "Numba is imported and gets machine code from its cache, and what tests of means need is imported; a run "
    "does so while it reads the panel",
    "configuration": "Hydra composes 25 files",
    "code and provenance": "one look at each file of the code, and at those of the libraries that it imports",
}


@dataclass
class Stages:
    """Processor seconds by stage, without those of the stages inside; what each moved and computed."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    moved: dict[str, Counter[str]] = field(default_factory=dict)  # stage → speed → bytes or operations
    _own: threading.local = field(default_factory=threading.local)
    _elsewhere: float = 0.0  # of stages in other threads than the main one

    def timed(self, stage: str, function: Callable[..., Any], count: Callable[..., Mapping[str, float]] | None) -> Any:
        @functools.wraps(function)
        def wrapped(*given: Any, **named: Any) -> Any:
            stack: list[float] = self._own.__dict__.setdefault("open", [])
            is_main = threading.current_thread() is threading.main_thread()
            clock = self._main_seconds if is_main else time.thread_time
            began = clock()
            stack.append(0.0)
            try:
                found = function(*given, **named)
                if count is not None:
                    self.moved.setdefault(stage, Counter()).update(count(found, *given, **named))
                return found
            finally:
                used = clock() - began
                self.seconds[stage] += used - stack.pop()
                if stack:
                    stack[-1] += used
                elif not is_main:
                    self._elsewhere += used

        return wrapped

    def _main_seconds(self) -> float:
        """All threads' seconds, but for what stages in other threads have used: they go on beside those of the main."""
        return time.process_time() - self._elsewhere

    def watch(self, places: str, stage: str, count: Callable[..., Mapping[str, float]] | None = None) -> None:
        """Time what stands at ``module:name`` or ``module:Class.name``, in every place that has imported it."""
        for place in places.split():
            module, _, path = place.partition(":")
            *outer, name = path.split(".")
            owner = functools.reduce(getattr, outer, __import__(module, fromlist=["x"]))
            found = vars(owner)[name]
            if isinstance(found, functools.cached_property):
                made = functools.cached_property(self.timed(stage, found.func, count))
                made.__set_name__(owner, name)  # type: ignore[arg-type]
                setattr(owner, name, made)
            else:
                setattr(owner, name, self.timed(stage, found, count))


def speeds(folder: Path, panel: Path) -> dict[str, float]:
    """Return what one core reaches a second, by the keys of `_SPEEDS`: bytes, or operations; `panel` is a Parquet."""

    def rate(amount: float, task: Callable[[], object], rounds: int = 5) -> float:
        took = []
        for _ in range(rounds):
            began = time.process_time()
            done = task()
            took.append(time.process_time() - began)
            del done
        return amount / min(took)

    large, other = np.ones(_LARGE, np.float32), np.zeros(_LARGE, np.float32)
    small, out = np.ones(_SMALL), np.zeros(_SMALL)
    square, normal = np.ones((1024, 1024)), np.random.default_rng(0).normal(size=(_ROWS, _ROWS))

    def in_cache() -> None:
        for _ in range(2000):
            np.add(small, out, out=out)

    def to_file() -> None:
        with (folder / "speed").open("wb") as stream:
            stream.write(other.data)

    found = {
        "memory": rate(2 * large.nbytes, lambda: np.copyto(other, large)),
        "cache": rate(2000 * 3 * small.nbytes, in_cache),
        "file": rate(other.nbytes, to_file),
        "SHA-256": rate(other.nbytes, lambda: hashlib.sha256(other.data)),
        "BLAKE2b": rate(other.nbytes, lambda: hashlib.blake2b(other.data)),
        "additions": rate(2000 * _SMALL, in_cache),
        "operations": rate(2 * 1024**3, lambda: square @ square),
        "eigenvalues": rate(20 * 9.0 * _ROWS**3, lambda: [np.linalg.eigh(normal + normal.T) for _ in range(20)]),
        "new": rate(large.nbytes, lambda: np.full(_LARGE, 1, np.float32)),
        "mapped": rate(large.nbytes, lambda: np.memmap(folder / "speed", np.float32, "r").sum()),
        "Parquet": rate(panel.stat().st_size, lambda: parquet.read_table(panel, use_threads=False)),
    }
    (folder / "speed").unlink()
    return found


def _size(_: object, path: Path) -> dict[str, float]:
    return {"SHA-256": os.path.getsize(path)}


def _panel_bytes(panel: Any, source: Any) -> dict[str, float]:
    known = sum(int(np.count_nonzero(~np.isnan(one))) * 4 for one in panel.fields.values())
    arrays = sum(one.nbytes for one in panel.fields.values())
    return {"Parquet": os.path.getsize(f"{source.root}/{source.path}"), "new": arrays, "memory": 2.0 * known}


def _count_inside(stages: Stages) -> None:
    """Count what every node of the features reads, writes and adds up, and the rows of every sum."""
    from harness.features import engine
    from harness.samples import gram

    compute, sums = engine._Graph._compute, gram._sums_in_order

    def counted(self: Any, group: tuple[int, ...], values: Any, part: Any, out: Any) -> None:
        compute(self, group, values, part, out)
        node = self.program.nodes[group[0]]
        read = sum(values[i].nbytes for i in node.sources)
        windows = {self.program.nodes[one].parameters[0] for one in group} if node.kernel in _ADDED else {0}
        every = max(windows)
        if node.kernel == "quantile":
            every = sum(windows)
        elif node.kernel in ("extreme", "extreme_position"):
            every = _joined(windows)
        added = _ADDED.get(node.kernel, 0) * every * out[0].size
        stages.moved.setdefault(_FEATURES, Counter()).update({"cache": read + out.nbytes, "additions": added})

    def summed(features: Any, label: Any, weights: Any) -> Any:
        known = float(np.count_nonzero(~np.isnan(label)))
        # Half of a product of matrices, which is symmetric.
        read = features.nbytes  # mapped, processed, and summed
        counts = {"operations": known * (features.shape[1] + 2) ** 2, "mapped": read, "memory": 2.0 * read}
        stages.moved.setdefault(_SUMS, Counter()).update(counts)
        return sums(features, label, weights)

    engine._Graph._compute, gram._sums_in_order = counted, summed  # type: ignore[method-assign]


def _joined(windows: set[int]) -> int:
    """Return how often two windows that overlap, or follow each other, become a longer one, from one time on."""
    width, joined = 1, 0
    for window in sorted(windows):
        while width < window:
            width, joined = min(2 * width, window), joined + 1
    return joined


def _fitted(_: object, processors: Any, view: Any, segment: Any) -> dict[str, float]:
    values = 158.0 * view.offsets(segment.start, segment.stop)[-1]
    # One look: a test for being missing, two comparisons for the median, four for the deviations from it.
    return {"mapped": 4.0 * values, "additions": 7.0 * values}


def watch_all() -> Stages:
    """Return stages that are timed from here on."""
    stages = Stages()
    watch = stages.watch
    watch(
        "harness.cli.hydra_application:Application.__enter__ harness.cli.hydra_application:job_config", "configuration"
    )
    watch("harness.store.code_digest:_followed harness.run.pipeline:provenance", "code and provenance")
    watch("harness.data.sources.tabular:TabularSource.load", "reading the panel", _panel_bytes)
    watch("harness.store.artifacts:fingerprint_file harness.data.sources.tabular:fingerprint_file", _CHECKED, _size)
    of_arrays = lambda _, arrays: {"SHA-256": float(sum(one.nbytes for one in arrays.values()))}  # noqa: E731
    watch("harness.data.panel:fingerprint_arrays", "fingerprints", of_arrays)
    size_of = lambda part: part.nbytes if isinstance(part, np.ndarray) else len(part)  # noqa: E731
    of_parts = lambda _, before, *parts: {"BLAKE2b": float(sum(map(size_of, parts)))}  # noqa: E731
    watch("harness.samples.growth:_digest", "digests by time", of_parts)
    watch("harness.samples.growth:_known", "digests by time")  # in a thread
    watch("harness.run.field_digests:chained_digests", "digests by time")
    of_matrix = lambda _, *given: {"new": given[5].nbytes}  # noqa: E731
    watch("harness.run.feature_chunks:compute_period", _FEATURES, of_matrix)
    watch("numpy:save", _WRITTEN, lambda _, file, array, **__: {"file": float(array.nbytes)})
    watch("harness.run.pipeline:compute_expression", "label")
    watch("harness.samples.preprocess:Pipeline.fit", "processors", _fitted)
    watch("harness.run.rolling:apply", "processors")  # rows are processed when their sums read them
    watch("harness.samples.gram:GramBlocks._ensure", _SUMS)
    of_size = lambda _, system, *__, **___: {"eigenvalues": 9.0 * system.moment.size**3}  # noqa: E731
    watch("harness.samples.gram:NormalEquations.ridge", "normal equations solved", of_size)
    of_rows = lambda found, *_: {"mapped": 4.0 * 158 * found[0].size}  # noqa: E731
    watch("harness.run.rolling:WalkForward._forecast", "predictions", of_rows)
    watch("harness.evaluation.evaluate:backtest", "portfolio")
    watch("harness.run.pipeline:evaluate", "evaluation")
    watch("harness.run.pipeline:intervals", "intervals")
    watch("harness.run.experiment:_publish", "publishing")
    watch("os:fsync", "fsync")
    _count_inside(stages)
    return stages


def page(stages: Stages, known: Mapping[str, float], total: tuple[float, float]) -> str:
    """Return the page: what the machine reaches, and every stage beside its limit."""
    lines, rest = [], total[0] - sum(stages.seconds.values())
    for stage, seconds in sorted([*stages.seconds.items(), ("everything else", rest)], key=lambda one: -one[1]):
        moved: Mapping[str, float] = stages.moved.get(stage, {})
        limit = sum(amount / known[what] for what, amount in moved.items())
        what = ", ".join(_amount(name, amount) for name, amount in moved.items()) or "–"
        factor = f"{seconds / limit:.1f}" if limit else "–"
        lines.append(f"| {stage} | {seconds:.2f} | {what} | {f'{limit:.2f}' if limit else '–'} | {factor} |")
    reached = ", ".join(f"{_SPEEDS[name]} {_amount(name, speed).partition(' (')[0]}/s" for name, speed in known.items())
    above = [s for s in stages.seconds if stages.seconds[s] > _HOT and s in stages.moved]
    above = [s for s in above if stages.seconds[s] > 3 * sum(a / known[w] for w, a in stages.moved[s].items())]
    notes = [f"- **{stage}**: {_NOTES.get(stage, 'not explained yet')}." for stage in above]
    notes += [f"- **{stage}**: {_NOTES[stage]}." for stage in _NOTES if stage not in stages.moved]
    text = "\n".join(lines)
    return _PAGE.format(
        total=total[0], wall=total[1], reached=reached, machine=_machine(), table=text, notes="\n".join(notes)
    )


def _amount(name: str, amount: float) -> str:
    unit = {"operations": "Gflop", "eigenvalues": "Gflop", "additions": "G additions"}.get(name, "GB")
    return f"{amount / 1e9:,.3g} {unit}" + (f" ({name})" if unit == "GB" else "")


def _panel_file() -> Path:
    return Path(os.environ["BENCH_DATA"]) / "cn_csi300_2005" / "panel.parquet"


def _machine() -> str:
    found = [f"{name} {version(name)}" for name in ("numpy", "numba", "scipy", "pyarrow")]
    return f"{machine()['processor'] or platform.machine()}, {os.cpu_count()} cores; {', '.join(found)}"


def _linked() -> float:
    """Import Numba and link the kernels, which a run does while it reads the panel; return the seconds."""
    from harness.config import compose_config
    from harness.run.ahead import load_ahead

    features = compose_config(COMMAND[2:]).features.feature_set()
    began = time.process_time()
    load_ahead(features)
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()
    return time.process_time() - began


def run() -> int:
    """Measure, and write the page."""
    for name in ("harness.cli.run", "pyarrow.compute"):
        importlib.import_module(name)
    before = {"imports": time.process_time() - _BEGAN}
    os.environ.setdefault("BENCH_DATA", str(ROOT.parent / "shared" / "data"))
    before[_LINKED] = _linked()
    stages = watch_all()
    stages.seconds.update(before)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        began, since = time.process_time(), time.perf_counter()
        if main(COMMAND):
            return 1
        total = time.process_time() - began + sum(before.values()), time.perf_counter() - since
        text = page(stages, speeds(Path(folder), _panel_file()), total)
    write_atomically(PAGE, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(run())

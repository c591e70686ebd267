"""Both sides in turn on the same data: `make peer-bench` writes docs/reference/peer.md.

    python -m tests.benchmarks.peer_bench --python .peer/bin/python --data cn_csi300 --job rr

What was measured is kept in docs/reference/peer.json, so that jobs can be measured one at a time: the others stay.

Our side reads the folder that `bench data convert` writes in qlib's format, as the peer does, with an empty store. A
job is a process of its own; wall time and processor time of it and of its children are taken from the outside, and so
is the memory of the whole tree (what processes share is counted once). Features and portfolio are timed inside, without
start and reading.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from harness.run.finished import FinishedRun
from harness.store.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "peer.md"
BENCH = [sys.executable, "-c", "from harness.cli import command; command()"]
JOBS = {
    "alpha158": "158 features of every row",
    "rr": "RR[Linear], from prices to metrics and portfolio",
    "ddgda": "DDG-DA[Linear], ridge proxies, likewise",
    "rr_lightgbm": "RR[LightGBM], a fixed number of trees",
    "portfolio": "top-k dropout of finished scores",
}
INSIDE = ("alpha158", "portfolio")  # the second takes the scores of `rr`
_EVERY = 0.1  # seconds between two looks at the processes
_MORE = 1.01  # times the memory at which it was looked at last
_PACKAGES = ("pyqlib", "pandas", "numpy", "lightgbm", "torch")


@dataclass(frozen=True)
class Market:
    """What both sides are run on: our overrides for the data, and the dates of the first window.

    Attributes:
        train_ddgda: DDG-DA begins later: all features of all rows, a dozen times, have to fit into the peer's memory.
        test_lightgbm: LightGBM ends sooner, as each window costs the peer half a minute.
    """

    name: str
    convert: tuple[str, ...]
    train: tuple[str, str]
    valid: tuple[str, str]
    test: tuple[str, str]
    train_ddgda: tuple[str, str]
    test_lightgbm: tuple[str, str]
    benchmark: str = "SH000300"
    topk: int = 50
    n_drop: int = 5
    trees: int = 40
    ddgda: Mapping[str, Any] = field(default_factory=dict)


MARKETS = {
    "cn_csi300": Market(
        "CSI 300 from 2005",
        ("data=cn_csi300", "universe=qlib"),
        ("2008-01-02", "2014-12-31"),
        ("2015-01-05", "2016-12-30"),
        ("2017-01-03", "2020-07-31"),
        ("2010-01-04", "2014-12-31"),
        ("2017-01-03", "2017-03-31"),
    ),
    "small": Market(
        "a simulated market of 24 instruments",
        ("data.instruments=24", "data.days=700", "data.members=16"),
        ("2012-02-01", "2013-03-29"),
        ("2013-04-01", "2013-08-30"),
        ("2013-09-02", "2014-06-30"),
        ("2012-02-01", "2013-03-29"),
        ("2013-09-02", "2013-12-31"),
        benchmark="SIMINDEX",
        topk=5,
        n_drop=1,
        trees=5,
        ddgda={"hist_step_n": 3, "fea_imp_n": 10, "loss_skip_thresh": 8},
    ),
}


@dataclass(frozen=True)
class Cost:
    """Seconds, seconds of processor time, and megabytes of one job.

    Attributes:
        said: What it printed last.
        others: Processors that other work took meanwhile, on average.
    """

    wall: float
    cpu: float
    memory: float
    said: dict[str, Any]
    others: float = 0.0


def measured(command: Sequence[str], folder: Path) -> Cost:
    """Run a command to its end, and say what it and its children cost.

    Raises:
        RuntimeError: When it fails, with the end of what it wrote.
    """
    with tempfile.TemporaryFile("w+") as out:
        began, busy = time.perf_counter(), _busy()
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, text=True)
        peak, most, spent = 0.0, 0, dict[tuple[int, float], float]()
        while process.poll() is None:
            resident, members = _tree(process.pid, spent)
            if resident > _MORE * most:  # what is shared is told apart rarely: that holds up who is measured
                peak, most = max(peak, _memory(members)), resident
            time.sleep(_EVERY)
        wall = time.perf_counter() - began
        others = max(0.0, _busy() - busy - sum(spent.values())) / wall
        out.seek(0)
        lines = out.read().strip().splitlines()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}:\n" + "\n".join(lines[-20:]))
    last = lines[-1] if lines else ""
    return Cost(wall, sum(spent.values()), peak, json.loads(last) if last.startswith("{") else {}, others)


def _busy() -> float:
    """Return the processor seconds of everything that has run on the machine."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _tree(root: int, spent: dict[tuple[int, float], float]) -> tuple[int, list[psutil.Process]]:
    """Return the resident bytes of a process and its children, and them; note what processor time each has had."""
    resident = 0
    try:
        first = psutil.Process(root)
        members = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, []
    for one in members:
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            spent[one.pid, one.create_time()] = times.user + times.system
            resident += one.memory_info().rss
    return resident, members


def _memory(processes: Sequence[psutil.Process]) -> float:
    """Return the megabytes of processes; what they share is counted once."""
    memory = 0.0
    for one in processes:
        with suppress(OSError):
            text = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
            memory += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    return memory


def ours(job: str, market: Market, work: Path) -> Cost:
    """Run our side of a job with an empty store."""
    if job in INSIDE:
        asked = {"job": job, "data": _data(market, work), "overrides": overrides("rr", market, work), "work": str(work)}
        (work / "ours.json").write_text(json.dumps(asked))
        return measured([sys.executable, "-m", "tests.benchmarks.peer_ours", str(work / "ours.json")], ROOT)
    store, runs = tempfile.mkdtemp(dir=work), work / f"runs-{job}"
    command = [*BENCH, "run", "-q", *overrides(job, market, work), f"output.store={store}", f"output.runs={runs}"]
    cost, found = measured(command, work), FinishedRun.read(next(runs.glob("*/snapshot.json")).parent).overall
    return replace(cost, said={"IC": found["IC"], "excess return": found.get("excess_return")})


def overrides(job: str, market: Market, work: Path) -> list[str]:
    """Return the configuration of our side of a job: qlib's rules, so that both do the same."""
    segments = segments_of(job, market)
    found = [*_data(market, work), "compat=qlib"]
    found += [f"windows.{name}=[{first},{last}]" for name, (first, last) in segments.items()]
    if job == "rr_lightgbm":
        found += ["model=lightgbm", "preprocess=qlib_tree", "model.early_stopping_rounds=null"]
        return [*found, f"model.num_boost_round={market.trees}", "model.include_valid=false"]
    found += ["model=linear", "preprocess=qlib_linear", "model.include_valid=false", "evaluation=portfolio"]
    found += [f"evaluation.portfolio.topk={market.topk}", f"evaluation.portfolio.n_drop={market.n_drop}"]
    if job == "ddgda":
        found += ["adaptation=ddgda_qlib", *(f"adaptation.{key}={value}" for key, value in market.ddgda.items())]
    return found


def segments_of(job: str, market: Market) -> dict[str, tuple[str, str]]:
    """Return the first and the last day of each segment of the first window of a job; the test's of the last one."""
    train = market.train_ddgda if job == "ddgda" else market.train
    test = market.test_lightgbm if job == "rr_lightgbm" else market.test
    return {"train": train, "valid": market.valid, "test": test}


def _data(market: Market, work: Path) -> list[str]:
    fields = "[open,high,low,close,volume,vwap,factor]"
    found = ["data=qlib_bin", f"data.path={work}/qlib", "data.universe=members", "data.instruments=all"]
    return [*found, f"data.fields={fields}", f"data.benchmark={market.benchmark}"]


def peer(job: str, market: Market, python: str, work: Path) -> Cost:
    """Run the peer's side of a job."""
    own = Path(tempfile.mkdtemp(dir=work))
    trees = {"loss": "mse", "learning_rate": 0.2, "num_leaves": 210, "max_depth": 8, "colsample_bytree": 0.8879}
    trees |= {"subsample": 0.8789, "lambda_l1": 205.6999, "lambda_l2": 580.9768, "num_threads": os.cpu_count()}
    request = {
        **{"job": job, "data": f"{work}/qlib", "work": str(own), "universe": "members", "horizon": 20, "step": 20},
        **{key: value for key, value in asdict(market).items() if key not in ("name", "convert", "trees")},
        **segments_of(job, market),
        "model": "lightgbm" if job == "rr_lightgbm" else "linear",
        "portfolio": job != "rr_lightgbm",
        # More rounds without a better one than there are rounds: nothing stops early.
        "trees": {**trees, "num_boost_round": market.trees, "early_stopping_rounds": market.trees + 1},
        "scores": f"{work}/scores.parquet",
    }
    (own / "request.json").write_text(json.dumps(request))
    script = Path(__file__).with_name("peer_rolling.py")
    return measured([python, str(script), str(own / "request.json")], own)


@dataclass(frozen=True)
class Measured:
    """Both sides of one job, and on what."""

    job: str
    ours: Cost
    peer: Cost
    machine: str
    versions: str


def table(measured: Sequence[Measured]) -> list[str]:
    """Return the lines of a Markdown table: each job, our side, the peer's, and how many times more that is."""
    lines = [
        "| job | | wall | processor time | peak memory | other load | IC, excess return |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in measured:
        inside = one.job in INSIDE
        sides = (one.ours, one.peer)
        walls = [side.said["seconds"] if inside else side.wall for side in sides]
        for name, side, wall in zip((f"{JOBS[one.job]} | here", " | peer"), sides, walls, strict=True):
            cpu = "" if inside else f"{side.cpu:,.1f} s"
            said = ", ".join(f"{v:.4f}" for k, v in side.said.items() if k in ("IC", "excess return") and v is not None)
            lines.append(f"| {name} | {wall:,.2f} s | {cpu} | {side.memory:,.0f} MB | {side.others:.1f} | {said} |")
        cpu = "" if inside else f"{one.peer.cpu / one.ours.cpu:.0f} ×"
        lines.append(
            f"| | ratio | {walls[1] / walls[0]:.0f} × | {cpu} | {one.peer.memory / one.ours.memory:.1f} × | | |"
        )
    return lines


def document(market: Market, measured: Sequence[Measured]) -> str:
    """Return the page."""
    places = " and ".join(dict.fromkeys(f"{one.machine}; {one.versions}" for one in measured))
    said = f"On {market.name}, test {market.test[0]} … {market.test[1]}, both sides in turn, an empty store; {places}."
    last = market.test_lightgbm[1]
    trees = (
        f"DDG-DA begins in {market.train_ddgda[0][:4]}; RR[LightGBM] ends at {last} and grows {market.trees} trees a "
        "window. DDG-DA chooses its proxy features by LightGBM, on both sides; here these trees take half of the time. "
        "Features and portfolio are timed inside. Kernels have been compiled before, as they are once per "
        "installation. Other load is how many processors other work took meanwhile: with much of it processor time "
        "says more than wall time."
    )
    head = ["# Beside the peer", "", "Written by `make peer-bench`.", "", said, "", trees, ""]
    return "\n".join([*head, *table(measured), ""])


def kept(file: Path) -> dict[str, Measured]:
    """Return what was measured before, by job."""
    found = json.loads(file.read_text()) if file.is_file() else []
    sides = [{**one, "ours": Cost(**one["ours"]), "peer": Cost(**one["peer"])} for one in found]
    return {one["job"]: Measured(**one) for one in sides}


def versions_of(python: str) -> str:
    """Return which packages the peer has."""
    code = "import importlib.metadata as m, sys; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    done = subprocess.run([python, "-c", code, *_PACKAGES], capture_output=True, text=True, check=True)
    return f"the peer: {done.stdout.strip()}"


def main(arguments: Sequence[str]) -> None:
    """Measure the jobs asked for, and write the page."""
    parser = ArgumentParser(prog="python -m tests.benchmarks.peer_bench")
    parser.add_argument("--python", default=".peer/bin/python", help="an interpreter that has pyqlib: `make peer`")
    parser.add_argument("--data", choices=tuple(MARKETS), default="cn_csi300")
    parser.add_argument("--job", choices=tuple(JOBS), action="append", help="all by default")
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    asked = parser.parse_args(arguments)
    market, python, record = MARKETS[asked.data], str(Path(asked.python).absolute()), asked.out.with_suffix(".json")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GB"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        target = ["--to", "qlib_bin", "--out", f"{work}/qlib", "--universe", "members"]
        measured([*BENCH, "data", "convert", "-q", *market.convert, *target], ROOT)
        few = ["experiment=quick", "data.instruments=8", "data.days=700", "data.members=4", "model=linear"]
        measured([*BENCH, "run", "-q", *few, f"output.store={work}/few", f"output.runs={work}/few"], work)  # compiles
        for job in asked.job or JOBS:
            if job == "portfolio":  # the peer's takes our scores
                mine, theirs = ours(job, market, work), peer(job, market, python, work)
            else:
                theirs, mine = peer(job, market, python, work), ours(job, market, work)
            done = Measured(job, mine, theirs, machine, versions_of(python))
            sys.stderr.write("\n".join(table([done])) + "\n")
            known = {**kept(record), job: done}
            found = [known[name] for name in JOBS if name in known]
            write_atomically(record, (json.dumps([asdict(one) for one in found], indent=1) + "\n").encode())
            write_atomically(asked.out, document(market, found).encode())


if __name__ == "__main__":
    main(sys.argv[1:])

"""Every command and code block of the README and the documentation does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.docs.blocks import ROOT, SHOWN, Block, blocks, pages

CSI300 = ROOT.parent / "shared" / "data" / "cn_csi300_2005"
NAMES = {page.relative_to(ROOT).as_posix(): page for page in pages()}
# Seconds on two cores; the others are for the night.
QUICK = ("docs/how-to/metric.md",)
PROMPT = 900  # seconds that one page may take


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the prices that pages speak of, and `bench` on its path."""
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2010-01-04", "2020-08-31")
    tickers = [f"T{i:02}" for i in range(12)]
    close = 10 * np.exp(np.cumsum(rng.normal(0, 0.01, (days.size, 12)), axis=0))
    index = pd.MultiIndex.from_product([days, tickers], names=["datetime", "ticker"])
    prices = pd.DataFrame({"close": close.ravel()}, index=index)
    prices["open"] = prices["close"] * np.exp(rng.normal(0, 0.003, len(prices)))
    prices["high"] = prices[["open", "close"]].max(axis=1) * 1.005
    prices["low"] = prices[["open", "close"]].min(axis=1) * 0.995
    prices["volume"] = rng.lognormal(12, 0.5, len(prices))
    prices["factor"] = 1.0
    prices.reset_index().to_parquet(tmp_path / "prices.parquet", index=False)
    (tmp_path / "my_data").symlink_to(CSI300.parent)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    for name, code in (("bench", "from harness.cli import command; command()"), ("python", None)):
        line = f'exec "{sys.executable}" ' + ('"$@"' if code is None else f"-c 'import sys; {code}' \"$@\"")
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    found = {k: v for k, v in os.environ.items() if k != "BENCH_DATA"}
    path = f"{folder / 'bin'}{os.pathsep}{found.get('PATH', '')}"
    return {
        **found,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "BENCH_DATA": str(CSI300.parent),
        "PYTHONWARNINGS": "ignore",
    }


def run(block: Block, home: Path, here: Path | None = None) -> Path:
    """Write, read or run a block in a folder; return the one that it ends in. A failure shows what it printed."""
    folder = here or home
    if block.file is not None:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    elif block.language == "yaml":
        assert yaml.safe_load(block.text) is not None
    elif block.language in ("bash", "python") and block.not_run is None:
        # A line that sets PYTHONPATH for a module of its own must find ours too.
        text = re.sub(r"PYTHONPATH=(\S+) ", rf"PYTHONPATH=\1:{ROOT} ", block.text).replace(".venv/bin/bench", "bench")
        shell = ["bash", "-euo", "pipefail", "-c"]
        ends = home / "ends_in"
        command = [sys.executable, "-c", text]
        if block.language == "bash":
            command = [*shell, f"trap 'pwd > {ends}' EXIT\n{text}"]
        options = {"capture_output": True, "text": True, "timeout": PROMPT}
        done = subprocess.run(command, cwd=folder, env=environment(home), **options)  # type: ignore[call-overload]
        assert done.returncode == block.exit_code, f"line {block.line}:\n{block.text}\n{done.stdout}\n{done.stderr}"
        if block.language == "bash":
            return Path(ends.read_text(encoding="utf-8").strip())
    return folder


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in NAMES]
)
def test_the_blocks_of_a_page_run_in_their_order(name: str, folder: Path) -> None:
    found = blocks(NAMES[name])
    if any("cn_csi300" in block.text for block in found if block.language == "bash") and not CSI300.is_dir():
        pytest.skip("the CSI 300 panel is not at ../shared/data")
    here = folder
    for block in found:
        here = run(block, folder, here)


@pytest.mark.parametrize("name", NAMES)
def test_every_block_says_what_it_is(name: str) -> None:
    for block in blocks(NAMES[name]):
        assert block.language in ("bash", "python", "yaml", *SHOWN), f"line {block.line}: {block.language!r}"


def test_a_block_that_fails_is_noticed(folder: Path) -> None:
    with pytest.raises(AssertionError, match="line 7"):
        run(Block("bash", "bench run windows.stp=3\n", 7), folder)
    with pytest.raises(AssertionError):
        run(Block("python", "raise SystemExit(3)\n", 1), folder)
    with pytest.raises(AssertionError):
        run(Block("bash", "true\n", 1, exit_code=1), folder)
    run(Block("bash", "exit 3\n", 1, exit_code=3), folder)


def test_the_blocks_of_a_page_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "a\n<!-- not run: why -->\n```bash\nx\n```\n```yaml\n# my_conf/a.yaml\nb: 1\n```\n"
        "<!-- exit code: 2 -->\n```bash\ny\n```\n",
        encoding="utf-8",
    )
    first, second, third = blocks(page)
    assert (first.line, first.not_run, first.file) == (2, "why", None)
    assert (second.not_run, second.file, second.exit_code) == (None, "my_conf/a.yaml", 0)
    assert (third.not_run, third.exit_code) == (None, 2)


def test_a_file_that_is_shown_begins_with_its_package() -> None:
    """Hydra reads the head of a file up to the first line that says something else."""
    texts = {f"{page.name}, line {block.line}": block.text for page in pages() for block in blocks(page)}
    wrong = [where for where, text in texts.items() if "\n# @package" in text]
    assert wrong == []

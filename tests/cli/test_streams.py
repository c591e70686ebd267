"""What is printed reaches a terminal that lacks signs, and a reader that leaves early is no error."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import main
from harness.cli.streams import READER_GONE, as_json, degrading, plain
from harness.cli.terminal import show
from harness.report.table import numbers, table

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
BENCH = "from harness.cli import command; command()"


class Terminal(io.TextIOWrapper):
    """Standard output or error of another encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict")

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def test_signs_are_replaced_by_what_reads_alike() -> None:
    assert plain("0.1 – 0.2 … ● ▲ ▼ ± × → ─│┼╸ é") == "0.1 - 0.2 ... * ^ v +- x -> -|+- e"
    assert plain("股 \udcff") == "\\u80a1 \\udcff"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_text_is_refused_by_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    with degrading():
        sys.stdout.write("– … ● 股 😀 \udcff é\n")
    assert out.text().endswith("\n")
    assert out.errors == "strict"


def test_a_json_document_loses_no_character(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with degrading():
        as_json()
        sys.stdout.write(json.dumps({"name": "– 股 😀"}, ensure_ascii=False))
    assert json.loads(out.text()) == {"name": "– 股 😀"}


def test_commands_print_on_a_terminal_that_knows_ascii_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = Terminal("ascii"), Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    sweep = ["run", "-m", *SMALL, "model.alpha=0.1,-1"]
    for command in (["run", *SMALL], ["run", "--cfg"], ["cache", "status"], ["completion", "bash"]):
        assert main(command) == 0, command
    assert main(sweep) == 2, "one of its cells is a mistake"
    assert main(["run", "windows.stp=–"]) == 2
    assert "oracle" in out.text()
    assert "mistaken" in err.text()


def test_columns_align_in_ascii_and_take_no_more_room() -> None:
    made = table("t", ("name", *numbers("a"), "b"), [("r", "0.1 … 0.2", "± 0.0525"), ("r", "– 0.1", "● 1")])
    stream = Terminal("ascii")
    show(Console(file=stream, width=80), made)
    lines = stream.text().splitlines()
    assert lines[4:] == [
        "  r      0.1 ... 0.2   +- 0.0525  ",
        "  r            - 0.1   * 1        ",
        " " * 34,
    ]
    assert lines[3] == f" {'-' * 32} "


EXPLAIN = pytest.param("explain -q " + " ".join(SMALL), marks=pytest.mark.nightly)


@pytest.mark.parametrize("command", ["run --help", "run -q --cfg", EXPLAIN])
def test_a_reader_that_leaves_early_ends_a_command_quietly(command: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-c", BENCH, *command.split()],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert done.stderr == ""
    assert done.returncode in (0, READER_GONE)


def test_a_command_runs_without_standard_output(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -c "{BENCH}" data info -q {" ".join(SMALL)} >&-'
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")

"""A command that README, documentation, help texts or messages show reaches the program as written, in zsh too."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.cli.application import parsers
from harness.config import compose_config
from harness.errors import ConfigError
from tests.docs.blocks import ROOT, blocks, pages
from tests.docs.shell import Command, commands_of_help, commands_of_source, commands_of_text, expanded

PAGES = {page.relative_to(ROOT).as_posix(): page for page in pages()}


def complaints(commands: list[Command]) -> list[str]:
    return [f"{c.where}: {c.text}: {what}" for c in commands for what in expanded(c.text)]


@pytest.mark.parametrize("name", PAGES)
def test_no_shell_takes_a_command_of_a_page_apart(name: str) -> None:
    found = []
    for block in blocks(PAGES[name]):
        if block.language == "bash":
            lines = block.text.replace("\\\n", " ").splitlines()
            found += [Command(f"line {block.line + 1 + at}", line) for at, line in enumerate(lines)]
    prose = re.sub(r"^```.*?^```", "", PAGES[name].read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert complaints([*found, *commands_of_text(name, prose)]) == []


@pytest.mark.parametrize("name", PAGES)
def test_no_command_of_a_page_is_wider_than_the_page(name: str) -> None:
    lines = [line for block in blocks(PAGES[name]) if block.language == "bash" for line in block.text.splitlines()]
    assert [line for line in lines if len(line.partition(" #")[0].rstrip()) > 78] == []


def test_no_shell_takes_an_example_of_a_help_text_apart() -> None:
    found = []
    for name, parser in parsers().items():
        found += commands_of_help(name, f"{parser.description or ''}\n{parser.epilog or ''}")
    assert len(found) > 40
    assert complaints(found) == []


def test_no_shell_takes_a_command_of_a_message_or_a_configuration_file_apart() -> None:
    found = [c for f in ("harness", "baselines") for p in (ROOT / f).rglob("*.py") for c in commands_of_source(p)]
    found += [c for p in (ROOT / "conf").rglob("*.yaml") for c in commands_of_text(p.name, p.read_text("utf-8"))]
    assert len(found) > 100
    assert complaints(found) == []


def test_a_command_that_a_message_makes_of_what_was_typed_is_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config(["model=glob(lin*)"])
    assert "`bench run -m 'model=glob(lin*)'`" in str(caught.value)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_zsh_reads_every_command_of_a_page(name: str) -> None:
    for block in blocks(PAGES[name]):
        if block.language == "bash":
            done = subprocess.run(["zsh", "-n", "-c", block.text], capture_output=True, text=True, timeout=20)
            assert done.returncode == 0, f"line {block.line}: {done.stderr}"


@pytest.mark.parametrize(
    ("command", "marks"),
    [
        ("bench run windows.train=[2010,2014]", "["),
        ("bench run ~data.columns.factor", "~"),
        ("bench search model.alpha=interval(0,1)", "("),
        ("bench run -m model=glob(*)", "( *"),
        ("bench run data.path=data/*.csv", "*"),
        ("bench run data.path=a?.csv", "?"),
        ("bench run data.columns={time:Date,close:close}", "{"),
        ("pip install driftbench[optuna]", "["),
        ('bench explain "label.expression=Ref($close,-6)"', "$close"),
    ],
)
def test_what_a_shell_would_expand_is_noticed(command: str, marks: str) -> None:
    assert [found.rpartition(": ")[2] for found in expanded(command)] == [marks]


@pytest.mark.parametrize(
    "command",
    [
        "bench run 'windows.train=[2010,2014]' '~data.columns.factor' # [a comment]",
        "bench bless runs/tutorial-* --as tutorial/linear",
        "bench run data=qlib_bin data.path=~/.qlib/qlib_data/cn_data +data.columns.vwap=vwap",
        "bench run \"+features.add.trend='Slope(\\$close,60)/\\$close'\"",
        "bench run model.x=1 || test $? -eq 2",
        "cd $HOME && echo $(date +%F)",
    ],
)
def test_what_no_shell_expands_is_let_be(command: str) -> None:
    assert expanded(command) == []


def test_commands_are_found_in_every_kind_of_text(tmp_path: Path) -> None:
    assert [c.text for c in commands_of_text("p", "see `bench run a=[1]` and `x`, `~data.b` too")] == [
        "bench run a=[1]",
        "~data.b",
    ]
    assert [c.text for c in commands_of_text("p", "# Try: bench run a=[1]\n")] == ["bench run a=[1]"]
    assert [c.text for c in commands_of_help("p", "Text.\n  bench run a=1    says why\n")] == ["bench run a=1"]
    module = tmp_path / "m.py"
    module.write_text("E(hint=f'say data.{x}=[1,2], or `bench run a=[1]`')\n", encoding="utf-8")
    assert sorted(c.text for c in commands_of_source(module)) == ["a=[1]", "bench run a=[1]", "data.X=[1,2]"]

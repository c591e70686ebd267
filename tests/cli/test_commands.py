"""What all commands promise: help that teaches, words for machines, quiet and loud, completion, exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.application import parse, parsers
from harness.cli.commands import COMMANDS
from harness.cli.integrations import script

NAMES = [command.name for command in COMMANDS]
SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]
ESCAPE = "\x1b["


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_two_examples_and_the_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(name, capsys)
    examples = text.partition("examples:")[2].partition("exit codes:")[0]
    shown = [line for line in examples.splitlines() if re.search(rf"\bbench {name}\b", line)]
    assert len(shown) >= 2, text
    assert re.search(r"exit codes:\s+0 ", text), text
    assert "--quiet" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_command_stands_in_the_help_of_bench_with_a_few_words(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(rf"^  [a-z]* +{name.split()[0]} +[a-z]", help_of("", capsys), flags=re.MULTILINE)


def test_quiet_tells_the_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-q", "--json", *SMALL]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["snapshot"]["case"]
    assert shown.err == ""


def test_quiet_does_not_hide_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-q", "windows.step=0"]) == 2
    assert "windows.step" in capsys.readouterr().err


def test_verbose_tells_the_seconds_of_stages_and_the_cause_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-v", *SMALL]) == 0
    assert re.search(r"^panel +\d+\.\d\d s", capsys.readouterr().err, flags=re.MULTILINE)
    assert main(["run", "-v", "windows.step=("]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_quiet_and_verbose_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "-q", "-v"])
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


OPTIONAL = [
    (command.name, name)
    for command in COMMANDS
    for names, settings in (*command.options, *command.exclusive)
    for name in names
    if name.startswith("-") and settings.get("nargs") == "?"
]


@pytest.mark.parametrize(("command", "option"), OPTIONAL, ids=" ".join)
def test_an_option_whose_value_may_be_left_out_leaves_overrides_in_their_order(command: str, option: str) -> None:
    (dest,) = {action.dest for action in parsers(command)[command]._actions if option in action.option_strings}
    alone, several = vars(parse([command, option])), ["seed=1", "+a.b=2", "~tracking", "seed=3"]
    for at in range(len(several) + 1):
        given = vars(parse([command, *several[:at], option, *several[at:]]))
        assert given == {**alone, "overrides": several}
    given = vars(parse([command, option, "model", *several]))
    assert given == {**alone, dest: "model", "overrides": several}
    assert not option.startswith("--") or vars(parse([command, option[:-2], *several])) == {
        **alone,
        "overrides": several,
    }


def test_colours_and_bars_vanish_when_the_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-m", *SMALL, "model.alpha=0.1,1"]) == 0
    shown = capsys.readouterr()
    assert ESCAPE not in shown.out + shown.err
    assert "━" not in shown.out + shown.err


def test_the_leaderboard_says_the_same_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-m", "-q", *SMALL, "model.alpha=0.01,1000"]) == 0
    assert main(["report", "-q"]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "--sort-by", "IC"]) == 0
    table = capsys.readouterr().out
    assert "by IC" in table
    assert "±" in table
    texts = {}
    for form in ("markdown", "latex", "csv", "json"):
        assert main(["leaderboard", "--sort-by", "IC", "--format", form]) == 0
        texts[form] = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    names = [row["cell"] for row in rows]
    assert set(names) == {"model.alpha=0.01", "model.alpha=1000", "oracle"}
    record = json.loads(texts["json"])["rows"]
    assert [row["cell"]["value"] for row in record] == names
    assert [repr(row["IC"]["value"]) for row in record] == [row["IC"] for row in rows]
    values = [float(row["IC"]) for row in rows[:2]]
    assert values == sorted(values, reverse=True)
    assert texts["markdown"].splitlines()[2].startswith(f"| {names[0]} ")
    assert r"\begin{tabular}{lrrrrrrr}" in texts["latex"]
    assert texts["latex"].count(r"\\") == len(rows) + 1
    assert main(["leaderboard", "--json", "--out", "board.json"]) == 0
    assert json.loads(Path("board.json").read_text(encoding="utf-8"))["rows"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--sort-by", "IQ"], "--sort-by"),
        (["--reference", "nobody"], "--reference"),
        (["--out", "x"], "--format"),
    ],
)
def test_a_mistake_in_a_leaderboard_is_named(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "-q", *SMALL]) == 0
    capsys.readouterr()
    assert main(["leaderboard", *arguments]) == 2
    assert named in capsys.readouterr().err


def completed(words: list[str]) -> list[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    tail = f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _bench; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", f"{script('bash')}\n{tail}"], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["bench", "expl"], ["explain"]),
        (["bench", "data", "in"], ["info"]),
        (["bench", "run", "windows.em"], ["windows.embargo="]),
        (["bench", "run", "-m", "--sort"], ["--sort-by"]),
        (["bench", "run", "windows.step=5", "adaptation", "=", "gf"], ["gf_exp", "gf_exp_series", "gf_lin"]),
        (["bench", "new", "mo"], ["model"]),
        (["bench", "completion", "z"], ["zsh"]),
    ],
)
def test_completion_knows_commands_options_groups_choices_and_keys(words: list[str], found: list[str]) -> None:
    assert completed(words) == found


def test_completion_is_printed_for_both_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    assert "complete -o default -F _bench bench" in capsys.readouterr().out
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("autoload -U +X bashcompinit")


@pytest.mark.parametrize(
    "name",
    [
        "run",
        "explain",
        "check",
        "bless",
        "log",
        "diff",
        "nightly",
        "migrate",
        "data info",
        "data validate",
        "leaderboard",
    ],
)
def test_what_a_machine_may_read_has_json(name: str) -> None:
    options = {option for action in parsers()[name]._actions for option in action.option_strings}
    assert "--json" in options

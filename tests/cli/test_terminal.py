"""Tables fit: at every width every number, heading and name is there, whole, and no line is too long."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from harness.cli import main, terminal
from harness.cli.terminal import printable, show
from harness.evaluation.metrics import columns_of, headings_of, metrics_of
from harness.report.table import Column, Table, TableCell, numbers, prose, table
from harness.run.finished import FinishedSweep
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import read_snapshot

WIDTHS = (60, 80, 100, 120, 200)
SMALL = ["data.instruments=12", "data.days=300", "data.members=8", "windows.step=40"]
SMALL += ["evaluation=portfolio", "evaluation.portfolio.topk=3", "evaluation.portfolio.n_drop=1"]
NINE = ("cell", *numbers(*(f"column {at}" for at in range(9))))
METRIC = """
from dataclasses import dataclass
import numpy as np


@dataclass(frozen=True)
class Spread:
    name: str = "spread_of_the_scores_of_a_day"
    direction: str = "none"
    heading: str = "[red] spread | of a day"
    unit: str = "percent"
    digits: int = 1

    def compute(self, predictions):
        return np.diff(predictions.offsets) * 0.0 + 0.12345
"""


def rendered(made: Table, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), emoji=False, highlight=False)
    show(console, made)
    return console.file.getvalue()  # type: ignore[attr-defined]


values = st.floats(-1e6, 1e6).map(lambda value: f"{value:.4f}")
details = st.sampled_from(["", "± 0.0123", "-0.1234 … 0.0567"])
headings = st.sampled_from(["IC", "rank IC", "excess return", "a metric of somebody's own", "MDD", "[red]", "深度"])
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=70)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    heads = draw(st.lists(headings, min_size=1, max_size=14))
    marks, signs = st.sampled_from(["", "may be the best"]), st.sampled_from(["", "better", "worse"])
    rows = [
        (
            TableCell(draw(names), mark=draw(marks)),
            *(TableCell(draw(values), detail=draw(details), mark=draw(signs)) for _ in heads),
        )
        for _ in "abc"
    ]
    return table("title", ("cell", *numbers(*heads)), rows, below=("refused  why",))


@settings(max_examples=25, deadline=None)
@given(made=tables(), width=st.sampled_from(WIDTHS))
def test_every_number_heading_and_name_is_there_at_every_width(made: Table, width: int) -> None:
    check_whole(made, width)
    text = rendered(made, width)
    assert "refused  why" in text
    above = text.split("\n1  ")[0].splitlines()
    longest = max(cell_len(printable(row[0].text)) for row in made.rows)
    assert all(cell_len(line) <= max(width, longest + 12) for line in above)


@pytest.mark.parametrize("width", WIDTHS)
def test_prose_is_wrapped_at_its_spaces_or_becomes_a_paragraph(width: int) -> None:
    meaning = "a meaning of many words that no terminal of this width can hold beside all the others in one line"
    keys = ("evaluation.significance.repetitions", "a.b")
    value = '["/a/path/of/forty/characters/x.parquet"]'
    rows = [(key, value, "a number ≥ 0", meaning) for key in keys]
    text = rendered(table("", ("key", *prose("value", "accepts", "meaning")), rows), width)
    assert {*meaning.split(), *keys, "accepts", "meaning", value} <= set(text.split())
    assert max(map(len, text.splitlines())) <= width


def test_short_names_stand_beside_every_block_and_long_ones_have_numbers() -> None:
    long = TableCell("model.alpha=0.01 adaptation=rolling_retrain", mark="may be the best")
    rows: list[list[TableCell | str]] = [[TableCell("oracle"), *["0.1"] * 9], [long, *["0.2"] * 9]]
    lines = rendered(table("", NINE, rows), 80).splitlines()
    assert sum(line.split()[:1] == ["oracle"] for line in lines) == 2
    assert sum(line.split()[:2] == ["●", "1"] for line in lines) == 2
    assert lines[-1] == "1         ● model.alpha=0.01 adaptation=rolling_retrain"


def test_a_table_that_fits_is_one_table() -> None:
    lines = rendered(table("", NINE, [("a", *["0.1"] * 9)]), 160).splitlines()
    assert sum("column" in line for line in lines) == 1


@pytest.mark.parametrize(("width", "shown"), [(80, 2), (100, 0), (120, 2), (150, 1), (160, 2)])
def test_a_spare_column_never_makes_a_table_longer(width: int, shown: int) -> None:
    heads = ("IC", "ICIR", "rank IC", "rank ICIR", "long-short", "turnover", "autocorr.", "seconds")
    spare = [Column(head, numeric=True, about="a note", spare="in the file") for head in ("s / window", "at step 1")]
    row = [TableCell("model=linear adaptation=rolling_retrain"), *[TableCell("0.1795", detail="± 0.1863")] * 10]
    bare = rendered(table("", ("cell", *numbers(*heads)), [row[:9]]), width)
    text = rendered(table("", ("cell", *numbers(*heads), *spare), [row]), width)
    assert text.count("cell") == bare.count("cell")
    assert text.count("a note") == shown
    left = [column.heading for column in spare[shown:]]
    assert (f"{', '.join(left)}: in the file" in text) == bool(left)


@pytest.mark.parametrize("name", ["[red]a[/red]", "a\nb", "\x1b[31mred", ":smile:", "`a`", "a|b", "\u202eabc"])
def test_no_name_is_markup_or_a_command_to_the_terminal(name: str) -> None:
    text = rendered(table(name, (name, name), [(TableCell(name, detail=name), name)], below=(name,)), 80)
    assert text.count(printable(name)) >= 3
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_wide_characters_are_measured_as_the_terminal_shows_them() -> None:
    made = table("", ("数据", *numbers("指标")), [("模型", "0.1")])
    assert len({cell_len(line) for line in rendered(made, 80).splitlines() if line.strip()}) == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a sweep of long names, a user's own metric, a portfolio, and a blessed case."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        Path("spread_metric.py").write_text(METRIC, encoding="utf-8")
        assert main(["run", "-m", *sweep()]) == 0
        snapshot = read_snapshot(next(Path("runs").glob("*/snapshot.json")))
        Baselines(Path("results")).bless(snapshot, "the first, and a reason of a good many words, as reasons should be")
        yield folder


def sweep() -> list[str]:
    own = "+evaluation.extra=[{_target_: spread_metric.Spread}]"
    return [*SMALL, own, "model.alpha=0.0100000000001,0.0200000000001", "preprocess.label=[]"]


COMMANDS: dict[str, Callable[[], list[str]]] = {
    "run": lambda: ["run", *sweep()[:-2]],
    "run -m": lambda: ["run", "-m", *sweep()],
    "run --plan": lambda: ["run", "-m", "--plan", *sweep()],
    "leaderboard": lambda: ["leaderboard"],
    "explain": lambda: ["explain", *SMALL],
    "cache status": lambda: ["cache", "status"],
    "config --describe": lambda: ["config", "--describe", "windows"],
    "data info": lambda: ["data", "info", *SMALL],
    "audit": lambda: ["audit", "--level", "static", *SMALL],
    "log": lambda: ["log"],
    "diff": lambda: ["diff", *map(str, sorted(Path("runs").glob("*/snapshot.json"))[:2])],
    "check": lambda: ["check", str(next(Path("runs").glob("*/snapshot.json")))],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_prints_is_whole_on_every_terminal(
    command: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Table] = []
    printed = terminal.show

    def noting(out: Any, made: Any) -> None:
        shown.extend([made] if isinstance(made, Table) else [])
        printed(out, made)

    monkeypatch.setattr(terminal, "show", noting)
    main(COMMANDS[command]())
    monkeypatch.undo()
    assert shown
    for made in shown:
        for width in WIDTHS:
            check_whole(made, width)


def check_whole(made: Table, width: int) -> None:
    text = rendered(made, width)
    words = set(text.split())
    for column in made.columns[1:]:
        assert printable(column.heading) in text, f"{column.heading} is lost at {width}"
    for name, *cells in made.rows:
        assert len(cells) == len(made.columns) - 1
        cells = [cell for cell, column in zip(cells, made.columns[1:], strict=True) if not column.spare]
        assert printable(name.text) in text, f"{name.text} is lost at {width}"
        parts = (part for cell in cells for part in (cell.text, cell.sign, cell.detail))
        lost = {word for part in parts for word in part.split() if len(word) < width - 24} - words
        assert not lost, f"at {width}: {lost}"


def swept(folder: Path) -> FinishedSweep:
    (sweep,) = (folder / "runs").glob("sweep-*")
    return FinishedSweep.read(sweep)


def test_a_terminal_of_80_columns_cuts_no_heading(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["leaderboard"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # Whatever the cells of the sweep have that is worth a column, those of the portfolio and the user's own too.
    snapshots = [read_snapshot(row.folder / "snapshot.json") for row in swept(finished).rows if row.folder is not None]
    known = metrics_of(*(snapshot.identity for snapshot in snapshots))
    heads = list(headings_of(columns_of(known, [snapshot.overall for snapshot in snapshots]).values()).values())
    assert {"rank IC", "MDD", "[red] spread | of a day"} < set(heads)
    assert not [head for head in heads if not any(head in line for line in lines)]
    blocks = [line for line in lines if line.split()[:1] == ["cell"]]
    assert len(blocks) > 1
    assert max(map(len, blocks)) <= 80

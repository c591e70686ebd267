"""No name breaks a table: of a cell, a case, a data set or a user's own metric, in no form that a table takes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.evaluation.metrics import metrics_of
from harness.report.check_output import night_page
from harness.report.leaderboard import Leaderboard, Row, leaderboard_markdown
from harness.report.table import EXPORTS, TableCell, numbers, table, to_markdown
from harness.snapshots.baseline import Version
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import CaseVerdict, Problem

NASTY = [
    *("a|b", "a\\|b", "a\nb", "`code`", "# heading", "- item", "1. item", "---", "[red]x[/red]", "[a](b)", "![a](b)"),
    *(
        "<b>",
        "<script>alert(1)</script>",
        "&lt;",
        "*bold*",
        "__bold__",
        "_x_",
        "~~gone~~",
        "> quoted",
        "$x^2$ & 5%",
        '"q", r',
    ),
    *("{x}", "a\\", "#", "model.alpha=0.1 adaptation=gf_exp", "深度 ±", "-0.5 %"),
]


def cells(text: str) -> list[list[str]]:
    """Return the text of every cell of the tables in a page of Markdown, by row."""
    rows: list[list[str]] = []
    for token in MarkdownIt().enable("table").enable("strikethrough").parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append("".join(_plain(child) for child in token.children or []))
    return rows


def _plain(token: Token) -> str:
    if token.type in ("text", "text_special", "link_open", "link_close", "strong_open", "strong_close"):
        return token.content
    return f"({token.type})"


def one_line(name: str) -> str:
    return " ".join(name.split())


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_itself_in_every_markdown_table(name: str) -> None:
    plain = one_line(name)
    linked = TableCell(name, link=f"results/{name}.json")
    assert cells(to_markdown(table("", (name, *numbers("IC")), [(linked, "0.1")]))) == [[plain, "IC"], [plain, "0.1"]]
    own = {"name": "mine", "heading": name, "direction": "higher"}
    known = metrics_of({"config": {"evaluation": {"extra": [own]}}})
    rows = (
        Row(name, "done", {"IC": 0.1, "mine": 0.2}, 1.0, False, None, None),
        Row("other", "refused", {}, 0.0, False, f"{name}\nmore", None),
    )
    board = Leaderboard(rows, ("IC", "mine"), "IC", None, known)
    heads, done, lost = cells(board.to_markdown())
    assert heads == ["cell", "IC", plain]
    assert done == [plain, "0.1000", "0.2000"]
    assert lost[:2] == ["other", one_line(f"refused: {name.splitlines()[0]}")]
    snapshot = Snapshot("suite", name, {"data": {"name": name}}, {"overall": {"IC": 0.1}}, {})
    version = Version(1, Path(), snapshot)
    assert cells(leaderboard_markdown([version]))[1] == [plain, "0.1000"]
    night = night_page(name, [CaseVerdict.without("suite", name, Problem.FAILED, name)], {}, created="now")
    assert cells(night)[1][0] == one_line(f"suite/{name}")
    assert len(re.findall(r"^#+ ", night, flags=re.MULTILINE)) == 2


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_itself_in_every_export(name: str) -> None:
    made = table(name, (name, *numbers("IC")), [(TableCell(name, detail=name), TableCell("0.1000", 0.1))])
    assert cells(EXPORTS["markdown"](made))[1][0] == one_line(f"{one_line(name)} {one_line(name)}")
    rows = list(csv.reader(io.StringIO(EXPORTS["csv"](made))))
    assert [row[0] for row in rows] == [name, name]
    assert json.loads(EXPORTS["json"](made))["rows"][0][name]["value"] == name
    latex = EXPORTS["latex"](made)
    body = [line for line in latex.splitlines() if line.endswith("\\\\")]
    assert len(body) == 2
    assert all(len(re.findall(r"(?<!\\)&", line)) == 1 for line in body)
    assert not any(re.search(r"(?<!\\)[%#_]", line) or line.startswith("[") for line in body)

"""The command line as a user meets it: output, exit codes, and files left behind."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import main
from harness.cli.terminal import show
from harness.evaluation.metrics import METRICS
from harness.report.leaderboard import Leaderboard, Row
from harness.snapshots.snapshot import read_snapshot

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def test_run_prints_a_table_with_an_oracle_and_where_the_snapshot_lies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "rolling_retrain / linear" in out
    assert "oracle" in out
    path = Path(out.split("snapshot", 1)[1].split()[0])
    assert read_snapshot(path).case == "synthetic.linear.rolling_retrain.h20.s40"


def test_run_as_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--json", *SMALL]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["snapshot"]["metrics"]["overall"]["IC"] is not None


def test_the_composed_configuration_is_printed_without_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--cfg", "windows.step=7"]) == 0
    assert "step: 7" in capsys.readouterr().out
    assert list(Path.cwd().iterdir()) == []


def test_overrides_may_follow_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "windows.step=5", "--cfg", "windows.step=7"]) == 0
    assert "step: 7" in capsys.readouterr().out
    for command in (["run", "--nonsense", "windows.step=7"], ["diff", "a", "b", "c"]):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 2


def test_explain_prints_windows_and_computes_no_feature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "purge" in out
    assert "21 periods" in out
    assert not (Path.cwd() / ".bench" / "store" / "features").exists()


@pytest.mark.parametrize("command", [["run"], ["explain"], ["data", "info"]])
def test_a_users_mistake_is_one_message_without_a_traceback(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "windows.stp=3"]) == 2
    shown = capsys.readouterr()
    assert "did you mean `windows.step`?" in shown.err
    assert "Traceback" not in shown.err + shown.out
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "command", [[], ["run"], ["explain"], ["data", "info"], ["data", "validate"], ["data", "convert"]]
)
def test_help_teaches_with_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert out.count("bench ") >= 2
    if command:
        assert "cn_csi300 | " in out


def test_ctrl_c_ends_with_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.run.rolling.WalkForward.score", interrupt)
    assert main(["run", *SMALL]) == 130
    shown = capsys.readouterr()
    assert "run the same command to resume" in shown.err
    assert "Traceback" not in shown.err + shown.out
    assert not (Path.cwd() / "runs").exists()
    assert not list((Path.cwd() / ".bench").rglob(".making-*"))


def test_a_sweep_prints_one_table_and_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-m", *SMALL, "model.alpha=0.01,-1", "adaptation=rolling_retrain,gf_exp"]) == 2
    out = capsys.readouterr().out
    assert sum(line.startswith("mistaken ") for line in out.splitlines()) == 2
    assert "oracle" in out
    path = Path(out.split("table ", 1)[1].split()[0])
    assert sorted(p.name for p in path.parent.iterdir()) == [
        *("leaderboard.csv", "leaderboard.json", "leaderboard.md", "multirun.yaml")
    ]
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["outcome"] for row in rows] == ["done", "done", "oracle", "mistaken", "mistaken"]
    reference = "model.alpha=0.01 adaptation=rolling_retrain"
    assert f"worse than {reference}" in out
    (other,) = [row for row in rows if row["outcome"] == "done" and row["cell"] != reference]
    assert 0 < float(other["rank_IC_vs_reference_p_hac"]) <= 1
    assert float(other["rank_IC_low"]) < float(other["rank_IC"]) < float(other["rank_IC_high"])
    assert other["in_confidence_set"] in ("True", "False")
    record = json.loads((path.parent / "leaderboard.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in record["statistics"]["rows"]] == [reference, other["cell"]]


@pytest.mark.parametrize(("width", "whole"), [(80, False), (160, True)])
def test_names_that_do_not_fit_beside_the_metrics_stand_below_them(width: int, whole: bool) -> None:
    names = ["adaptation=ddgda adaptation.alpha=0.01", "adaptation=ddgda adaptation.alpha=1"]
    rows = [Row(name, "done", dict.fromkeys(METRICS, 0.1), 1.0, False, None, None) for name in names]
    refused = Row("windows.step=0", "refused", {}, 0.0, False, "The step must be positive.\nmore", None)
    board = Leaderboard((*rows, refused), tuple(METRICS)[:7], "rank_IC", None)
    console = Console(width=width, file=io.StringIO())
    show(console, board.table())
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert [f"{number:<9} {name}" in lines for number, name in enumerate(names, start=1)] == [not whole] * 2
    assert any(line.strip().startswith(names[0] + "  ") for line in lines) == whole
    assert "refused   windows.step=0: The step must be positive." in lines


def test_a_reference_that_is_no_cell_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-m", "windows.step=20,40", "--reference", "windows.step=30"]) == 2
    assert "windows.step=20; windows.step=40" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []


def test_the_plan_of_a_sweep_looks_at_the_calendar_and_computes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", *SMALL, "windows.step=40,60", "adaptation=rolling_retrain,gf_exp"]
    assert main(["run", "--plan", *sweep]) == 0
    assert "4 cells" in capsys.readouterr().out
    stages = {path.name for path in (Path.cwd() / ".bench" / "store").iterdir() if path.is_dir()}
    assert stages == {"panel", "outline"}
    assert main(["run", *sweep[:-1]]) == 0
    capsys.readouterr()
    assert main(["run", "--plan", *sweep]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines if "rolling_retrain" in line] == ["stored", "stored"]
    assert all("run, 0 of its windows are stored" in line for line in lines if "gf_exp" in line)
    assert next(line.split() for line in lines if "features" in line) == ["features", "1", "1"]


def test_an_unknown_command_is_refused_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["rnu"])
    assert stopped.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_data_info_says_what_the_panel_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", "--json", *SMALL]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["instruments"], record["times"]) == (24, 420)


def test_data_validate_accepts_the_simulated_market(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "validate", *SMALL]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "overrides", "limit"),
    [
        ("SH600000", [], "10 %"),
        ("SH600000", ["evaluation=portfolio_cn"], "10 %"),
        ("SH600000", ["evaluation=portfolio_cn", "evaluation.portfolio.limit_threshold=0.195"], "20 %"),
        ("SH600000", ["evaluation=portfolio_cn", "evaluation.portfolio.limit_threshold=0.1"], "10 %"),
        ("SH600000", ["evaluation=portfolio_us"], None),
        ("AAPL", [], None),
        ("AAPL", ["evaluation=portfolio_cn"], "10 %"),
        ("AAPL", ["evaluation=portfolio_us"], None),
    ],
)
def test_data_validate_holds_moves_against_the_limit_of_the_portfolio_or_of_a_shares(
    code: str, overrides: list[str], limit: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"2020-09-{day:02},{code},{10.0 if day < 20 else 13.0},1" for day in range(1, 31)]
    Path("jump.csv").write_text("\n".join(["datetime,instrument,close,volume", *rows]), encoding="utf-8")
    columns = [f"~data.columns.{name}" for name in ("open", "high", "low", "factor")]
    arguments = ["data", "validate", "data=tabular", "data.path=jump.csv", *columns, *overrides]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    if limit is None:
        assert found == []
        return
    assert [(finding["what"], finding["count"]) for finding in found] == [
        (f"moves exceed the daily price limit of {limit}", 1)
    ]
    assert found[0]["examples"][0].startswith(f"2020-09-20 {code} close=13 before=10 after=13 return=+30.00% limit=")
    assert "another source" in found[0]["advice"]
    assert main(arguments) == 0
    assert "advice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "overrides"),
    [
        (
            "qlib_bin",
            [
                *("data=qlib_bin", "data.path=out", "data.universe=mine", "data.benchmark=null"),
                "data.fields=[open,high,low,close,volume,vwap,factor]",
            ],
        ),
        (
            "long",
            [
                *("data=tabular", "data.path=out/panel.parquet", "data.membership=out/mine.txt"),
                *("data.calendar=out/calendar.txt", "+data.columns.vwap=vwap"),
            ],
        ),
    ],
)
def test_a_converted_panel_gives_the_same_predictions(
    form: str, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "convert", "--to", form, "--out", "out", "--universe", "mine", *SMALL]) == 0
    capsys.readouterr()
    metrics = []
    for data in (SMALL[:-1], overrides):
        assert main(["run", "--json", "windows.step=40", *data]) == 0
        metrics.append(json.loads(capsys.readouterr().out)["snapshot"]["metrics"]["overall"])
    assert metrics[0] == metrics[1]


def test_importing_the_harness_and_running_rr_does_not_import_torch_or_mlflow() -> None:
    code = (
        "import sys; from harness import run_experiment; "
        f"run_experiment({SMALL!r}); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'mlflow', 'xgboost', 'catboost', 'dask'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

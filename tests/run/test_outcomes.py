"""How cells and cases end: refused by a rule, mistaken, failed; and which exit code follows, wherever they ran."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.config import ExperimentConfig
from harness.errors import DataError, RefusedError, UnsupportedWeightsError, refused_by_the_system
from harness.run import dispatch
from harness.run.sweep import Cell, Outcome, exit_code, plan_sweep, run_sweep

SMALL = ["data.instruments=10", "data.days=260", "data.members=8", "windows.step=40", "label.horizon=5"]
ENDS: dict[str, BaseException] = {
    "10": RefusedError("Too little history."),
    "20": UnsupportedWeightsError("No weights."),
    "30": DataError("The file is damaged."),
    "40": OSError(errno.ENOSPC, "No space left on device"),
    "50": OSError("3145728 requested and 1024 written"),
    "60": ZeroDivisionError("a bug of the model"),
    "70": FileNotFoundError(errno.ENOENT, "No such file"),
}


def ended(steps: str) -> tuple[Cell, ...]:
    def run_cell(config: ExperimentConfig) -> object:
        raise ENDS[str(config.windows.step)]

    return run_sweep(plan_sweep([f"windows.step={steps}"]), run_cell, lambda _: None)  # type: ignore[arg-type]


def test_a_rule_refuses_a_mistake_is_mistaken_and_a_crash_fails() -> None:
    assert [e.outcome for e in ended("10,20,30,40,50,60,70,0")] == [
        *(Outcome.REFUSED, Outcome.REFUSED, Outcome.MISTAKEN, Outcome.MISTAKEN, Outcome.MISTAKEN),
        *(Outcome.FAILED, Outcome.FAILED, Outcome.MISTAKEN),
    ]
    assert "with space left" in str(ended("40,50")[0].reason)
    assert "a bug of the model" in str(ended("60,10")[0].trace)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ("done", 0),
        ("done refused", 0),
        ("refused refused", 2),
        ("done mistaken", 2),
        ("done refused mistaken failed", 1),
        ("", 0),
    ],
)
def test_the_exit_code_follows_from_the_worst_end(outcomes: str, code: int) -> None:
    assert exit_code(map(Outcome, outcomes.split())) == code


def test_only_what_the_system_refuses_is_a_users_mistake() -> None:
    for number in (errno.ENOSPC, errno.EACCES, errno.EROFS):
        assert refused_by_the_system(OSError(number, "x")) is not None
    assert refused_by_the_system(OSError(errno.EIO, "x")) is None
    assert refused_by_the_system(FileNotFoundError(errno.ENOENT, "x")) is None


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def outcomes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    rows = json.loads(capsys.readouterr().out)["rows"]
    return [row["outcome"] for row in rows if row["outcome"] != "oracle"]


def tabular(name: str) -> list[str]:
    return ["data=tabular", f"data.path={name}", "label.horizon=5"]


def test_a_sweep_whose_data_are_not_there_or_damaged_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    Path("damaged.parquet").write_bytes(b"PAR1 and then nothing")
    for file in ("absent.parquet", "damaged.parquet"):
        assert main(["run", "-m", "--json", *tabular(file), "model.alpha=0.1,1"]) == 2
        assert outcomes(capsys) == ["mistaken", "mistaken"]
        assert main(["run", "-m", "--plan", *tabular(file), "model.alpha=0.1,1"]) == 2
        assert "mistaken: " in capsys.readouterr().out


def test_a_sweep_in_which_a_rule_refuses_every_cell_has_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-m", "--json", *SMALL, "label.horizon=200", "model.alpha=0.1,1"]) == 2
    assert outcomes(capsys) == ["refused", "refused"]


@pytest.mark.parametrize(
    "executor",
    ["serial", pytest.param("local", marks=pytest.mark.nightly)],
)
def test_a_full_disk_loses_its_own_cell_and_keeps_the_others(
    executor: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def publish(config: ExperimentConfig, *rest: object) -> Path:
        if config.model.alpha == 1.0:  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, "No space left on device", "runs/x")
        return whole(config, *rest)  # type: ignore[arg-type]

    from harness.run import experiment

    whole = experiment._publish
    monkeypatch.setattr(experiment, "_publish", publish)
    assert main(["run", "-m", "--json", *SMALL, "model.alpha=0.1,1,10", f"executor={executor}"]) == 2
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["outcome"] for row in rows if row["outcome"] != "oracle"] == ["done", "done", "mistaken"]
    assert "No space left on device" in rows[-1]["note"]


@pytest.mark.parametrize(
    ("error", "code", "problem"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2, "FAILED"),
        (DataError("The file is damaged."), 2, "FAILED"),
        (RefusedError("Too little history."), 2, "FAILED"),
        (ZeroDivisionError("a bug of the model"), 1, "CRASHED"),
    ],
)
@pytest.mark.parametrize("command", ["check", "nightly"])
def test_a_case_that_ends_so_stops_no_other(
    command: str,
    error: Exception,
    code: int,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(config: ExperimentConfig, *_: object, **__: object) -> object:
        raise error if config.case == "first" else RefusedError("the other case was run too")

    monkeypatch.setattr("harness.cli.cases.run_audited", run)
    cases = "cases: [{case: first}, {case: second}]" if code == 2 else "cases: [{case: first}]"
    Path("mine.yaml").write_text(f"regression: default\n{cases}\n", encoding="utf-8")
    assert main([command, "mine.yaml", "--json"]) == code
    shown = capsys.readouterr()
    records = json.loads(shown.out)["cases"]
    assert records[0]["problem"] == problem
    assert str(error).split("] ")[-1] in records[0]["detail"]
    if code == 2:
        assert "the other case was run too" in records[1]["detail"]
    elif command == "check":
        assert "Traceback" in shown.err


EXITS = """
import sys
from dataclasses import dataclass
from baselines.models.linear import Linear
@dataclass(frozen=True)
class Exits(Linear):
    def fit(self, train, valid):
        sys.exit(0)
@dataclass(frozen=True)
class Refuses(Linear):
    def __post_init__(self):
        sys.exit(0)
"""


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("exits.Exits", 1, "asked Python to exit: SystemExit(0)"),
        ("exits.Refuses", 2, "cannot be made of these values"),
        ("script.Model", 2, "cannot be imported"),
    ],
)
def test_code_that_exits_is_an_error_of_its_own_cell(
    model: str, code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, model.partition(".")[0], raising=False)
    Path("exits.py").write_text(EXITS, encoding="utf-8")
    Path("script.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    swept = ["run", "-m", "--json", *SMALL, "model.alpha=1,2", f"model._target_={model}"]
    assert main(swept) == code
    notes = [row["note"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert len(notes) == 2
    assert all(says in note for note in notes)


def test_a_task_that_exits_leaves_its_worker_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_do", lambda: sys.exit(0))
    assert "asked Python to exit" in str(dispatch.work("{}"))

"""Proofs on what is blessed: whatever is planted is caught and named, whatever is edited is detected."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.config import config_folder
from harness.config.tolerances import Exact, Tolerances, load_tolerances
from harness.errors import SnapshotError
from harness.evaluation import evaluate as evaluation
from harness.evaluation import formulas as metrics
from harness.evaluation.metrics import directions_of
from harness.evaluation.portfolio.backtest import backtest
from harness.snapshots.baseline import Baselines
from harness.snapshots.comparison import compare, metric_leaves
from harness.snapshots.snapshot import Snapshot
from harness.snapshots.verdicts import ExitCode, Verdict
from harness.store.artifacts import canonical_json

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
PATH = RESULTS / "smoke" / "linear" / "v0001.json"
TOLERANCES = load_tolerances(config_folder() / "regression" / "default.yaml")


def blessed() -> Snapshot:
    found = Baselines(RESULTS).baseline("smoke", "linear")
    assert found is not None
    return found.snapshot


BLESSED = blessed()
NUMBERS = {
    path: float(value)
    for path, value in metric_leaves(BLESSED.metrics).items()
    if isinstance(value, int | float) and not path.startswith("intervals.")
}


def with_leaf(snapshot: Snapshot, path: str, value: object) -> Snapshot:
    """The snapshot as another processor would leave it, with one number moved."""
    content = copy.deepcopy(dict(snapshot.metrics))
    node: Any = content
    *way, last = path.split(".")
    for part in way:
        keyed = [r for r in node if str(r.get("window", r.get("year"))) == part] if isinstance(node, list) else None
        node = node[part] if keyed is None else keyed[0]
    node[last] = value
    platform = {**snapshot.provenance["platform"], "processor": "another"}
    return replace(snapshot, metrics=content, provenance={**snapshot.provenance, "platform": platform})


def allowed(path: str, value: float, tolerances: Tolerances) -> float:
    """The largest move to the worse side that the rule of a metric allows, by bisection; 0 when it must be exact."""
    rule, low, high = tolerances.of(path), 0.0, 1.0 + abs(value)
    if rule == Exact():
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rule.allows(value, value + worse(path) * middle) else (low, middle)
    return low


def worse(path: str) -> int:
    return 1 if directions_of().get(path.rpartition(".")[2]) == "lower" else -1


@pytest.mark.parametrize("path", sorted(NUMBERS))
def test_a_loss_of_any_blessed_number_beyond_its_tolerance_is_caught_and_named_and_none_within(path: str) -> None:
    value = NUMBERS[path]
    room = allowed(path, value, TOLERANCES)
    for share, expected in ((1.02, Verdict.WORSENED), (0.98, Verdict.WITHIN_TOLERANCE)):
        move = worse(path) * max(share * room, 1e-9 if share > 1 else 0.0)
        if move == 0.0:
            continue
        verdict = compare(BLESSED, with_leaf(BLESSED, path, value + move), TOLERANCES, directions=directions_of())
        moved = {m.path: m.verdict for m in verdict.metrics if m.verdict is not Verdict.SAME}
        assert moved == {path: expected}
        assert verdict.exit_code is (ExitCode.REGRESSION if share > 1 else ExitCode.FINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stages of one case, run once without anything planted."""
    made = tmp_path_factory.mktemp("planted")
    assert check(made) == ExitCode.FINE
    return made


def check(folder: Path) -> int:
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    return main(["check", "smoke/linear", *where, "--json", "--results", str(RESULTS)])


def halved(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: function(*arguments, **options) * 0.5


@pytest.mark.parametrize(
    ("function", "named"),
    [
        ("ic", "IC"),
        ("rank_ic", "rank_IC"),
        ("long_short_return", "long_short_return"),
        ("long_average_return", "long_average_return"),
        ("top_turnover", "turnover"),
        ("score_autocorrelation", "autocorrelation"),
    ],
)
def test_a_regression_planted_in_the_code_of_a_metric_is_caught_and_named(
    function: str, named: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the whole run: prices in, verdict out."""
    shutil.rmtree(folder / "store" / "result", ignore_errors=True)
    capsys.readouterr()
    monkeypatch.setattr(metrics, function, halved(getattr(metrics, function)))
    code = check(folder)
    shutil.rmtree(folder / "store" / "result")
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    findings = {m["path"] for m in case["metrics"] if m["verdict"] not in ("SAME", "WITHIN_TOLERANCE")}
    assert f"overall.{named}" in findings
    assert not {f"overall.{other}" for other in ("IC", "rank_IC", "turnover") if other != named} & findings
    assert code == ExitCode.REGRESSION


def test_a_regression_planted_in_the_costs_is_caught_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dear(strategy: Any) -> Any:  # an audit wraps it
        if hasattr(strategy, "inner"):
            return replace(strategy, inner=dear(strategy.inner))
        return replace(strategy, close_cost=0.02)

    def expensive(panel: Any, predictions: Any, strategy: Any) -> Any:
        return backtest(panel, predictions, dear(strategy))

    shutil.rmtree(folder / "store" / "result", ignore_errors=True)
    capsys.readouterr()
    monkeypatch.setattr(evaluation, "backtest", expensive)
    assert check(folder) == ExitCode.REGRESSION
    shutil.rmtree(folder / "store" / "result")
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    worse_now = {m["path"] for m in case["metrics"] if m["verdict"] == "WORSENED"}
    assert {"overall.excess_return", "overall.information_ratio", "overall.portfolio_cost"} <= worse_now
    assert "overall.IC" not in worse_now


def edit(rng: np.random.Generator, text: str) -> str:
    """One random edit, of the bytes or of the meaning in canonical form, as an editor or a script would leave it."""
    kind = rng.choice(["digit", "delete", "insert", "value", "remove", "add", "swap", "digest"])
    at = int(rng.integers(len(text)))
    if kind == "digit":
        digits = [i for i, c in enumerate(text) if c.isdigit()]
        at = int(rng.choice(digits))
        return text[:at] + str((int(text[at]) + int(rng.integers(1, 10))) % 10) + text[at + 1 :]
    if kind == "delete":
        return text[:at] + text[at + int(rng.integers(1, 20)) :]
    if kind == "insert":
        return text[:at] + str(rng.choice(list(" \n0,1}x"))) + text[at:]
    record = json.loads(text)
    if kind == "digest":
        record["digest"] = record["digest"][::-1]
        return canonical_json(record, indent=1)
    leaves = list(_leaves(record))
    holder, key = leaves[int(rng.integers(len(leaves)))]
    if kind == "value":
        old = holder[key]
        holder[key] = old * 1.001 + 0.1 if isinstance(old, int | float) and not isinstance(old, bool) else "edited"
    elif kind == "remove":
        del holder[key]
    elif kind == "add":
        record[str(rng.choice(["metrics", "identity", "provenance"]))]["planted"] = 1.0
    else:
        other, place = leaves[int(rng.integers(len(leaves)))]
        holder[key], other[place] = other[place], holder[key]
    return canonical_json(record, indent=1)


def _leaves(node: Any) -> Any:
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in list(items):
        if isinstance(value, dict | list):
            yield from _leaves(value)
        else:
            yield node, key


def test_200_random_edits_of_a_blessed_snapshot_are_all_detected(tmp_path: Path) -> None:
    rng = np.random.default_rng(2026)
    original = PATH.read_text(encoding="utf-8")
    shutil.copytree(RESULTS / "smoke", tmp_path / "smoke")
    target = tmp_path / PATH.relative_to(RESULTS)
    edited = 0
    while edited < 200:
        text = edit(rng, original)
        if text == original:
            continue
        target.write_text(text, encoding="utf-8")
        with pytest.raises(SnapshotError):
            Baselines(tmp_path).baseline("smoke", "linear")
        edited += 1
    target.write_text(original, encoding="utf-8")
    assert Baselines(tmp_path).baseline("smoke", "linear") is not None

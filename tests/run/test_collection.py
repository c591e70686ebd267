"""Finished runs put together: what is found, what is refused, and that the result is a run like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import run_experiment
from harness.errors import DataError
from harness.evaluation.collection import Scale, average
from harness.execution.progress import Silent
from harness.run.collection import averaged, merged, publish, select
from harness.run.finished import FinishedRun
from harness.snapshots.evidence import Evidence
from harness.store.artifacts import ArtifactStore

SMALL = [
    *["data.instruments=24", "data.days=420", "data.members=16", "label.horizon=5", "windows.step=20"],
    *["evaluation.significance=null", "preprocess.refit=per_window", "windows.train=[2012-01-04,2012-10-16]"],
]
FROM, BORDER, AFTER, UNTIL = "2013-02-19", "2013-05-13", "2013-05-14", "2013-08-13"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("collected")


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, FinishedRun]:
    """Return runs by what tells them apart."""
    whole, valid = f"windows.test=[{FROM},{UNTIL}]", "windows.valid=[2012-10-24,2013-02-11]"
    later = ["windows.train=[2012-01-04,2013-01-08]", "windows.valid=[2013-01-16,2013-05-06]"]
    asked = {
        "whole": [whole, valid],
        "ridge": [whole, valid, "model.alpha=1000"],
        "trees": [whole, valid, "model=lightgbm", "model.num_boost_round=3"],
        "other label": [whole, valid, "label.horizon=3"],
        "first": [f"windows.test=[{FROM},{BORDER}]", valid],
        "last": [f"windows.test=[{AFTER},{UNTIL}]", *later],
    }
    return {name: finished(folder, *overrides) for name, overrides in asked.items()}


def finished(folder: Path, *overrides: str) -> FinishedRun:
    where = [f"output.store={folder}/store", f"output.runs={folder}/runs"]
    return FinishedRun.read(run_experiment([*SMALL, *overrides, *where]).folder)


def test_runs_are_found_by_any_key_as_it_was_typed_or_as_it_stands(runs: dict[str, FinishedRun]) -> None:
    everything = list(runs.values())

    def found(*conditions: str) -> list[str]:
        chosen = select(everything, conditions)
        return [name for name, run in runs.items() if run in chosen]

    assert found("model.alpha=1e3") == ["ridge"]
    assert found("model=lightgbm") == found("model=LightGBM") == ["trees"]
    assert found("label.horizon=3") == found("look_ahead=4") == ["other label"]
    assert found("model=linear", "look_ahead=6", "model.alpha=1000,7") == ["ridge"]
    assert found("adaptation=rolling_retrain") == found("data=synthetic") == list(runs)
    assert found(f"case={runs['first'].snapshot.case}", "model=linear", "look_ahead=6") == [
        *("whole", "ridge", "first", "last")
    ]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("model.alpah=1", "model.alpha"),
        ("model.alpha=2", "1000"),
        ("model.alpha", "KEY=VALUE"),
    ],
)
def test_a_condition_that_nothing_meets_says_what_there_is(
    runs: dict[str, FinishedRun], condition: str, said: str
) -> None:
    with pytest.raises(DataError) as refused:
        select(list(runs.values()), [condition])
    assert said in str(refused.value)


def test_the_halves_of_a_test_range_are_merged_into_what_one_run_over_all_of_it_predicts(
    runs: dict[str, FinishedRun], folder: Path
) -> None:
    (made,), alone = merged([runs["last"], runs["ridge"], runs["first"]])
    assert alone == [runs["ridge"]]
    run = publish(made, "merged", ["--merge"], folder / "runs", Silent())
    whole = runs["whole"].snapshot
    assert run.snapshot.metrics["predictions"] == whole.metrics["predictions"]
    assert run.snapshot.metrics == whole.metrics
    assert [window["test"] for window in run.snapshot.identity["windows"]] == [
        window["test"] for window in whole.identity["windows"]
    ]
    assert run.config["model"] == whole.identity["config"]["model"]
    assert averaged([run, runs["ridge"]], "score").members


@pytest.mark.parametrize("scale", ["score", "zscore", "rank"])
def test_an_ensemble_is_the_average_of_its_members_judged_by_their_criteria(
    runs: dict[str, FinishedRun], folder: Path, scale: Scale
) -> None:
    members = [runs["whole"], runs["trees"]]
    run = publish(averaged(members, scale), f"ours.{scale}", ["--average"], folder / "runs", Silent())
    expected = average([member.predictions() for member in members], scale=scale)
    np.testing.assert_allclose(run.predictions().score, expected.score, rtol=1e-6)
    assert run.predictions().digest == run.snapshot.metrics["predictions"]
    assert run.overall["rows"] == members[0].overall["rows"]
    assert np.nanmean(run.series["rank_IC"]) == pytest.approx(run.overall["rank_IC"])
    assert run.why_not_comparable(members[0]) is None
    assert run.config["model"]["_target_"] == "Linear + LightGBM"
    assert run.config["windows"] == members[0].config["windows"]
    assert run.snapshot.identity["collected"] == {
        "how": scale,
        "members": sorted(
            ({"case": m.snapshot.case, "digest": m.snapshot.digest} for m in members), key=lambda m: m["digest"]
        ),
    }


def test_the_same_members_in_any_order_and_given_twice_give_the_same_bytes(
    runs: dict[str, FinishedRun], folder: Path
) -> None:
    members = [runs[name] for name in ("whole", "ridge", "trees")]
    written = []
    for at, given in enumerate((members, members[::-1], [*members, members[1]])):
        made = publish(averaged(given, "zscore"), "same", [], folder / str(at), Silent())
        files = sorted(path for path in made.folder.iterdir() if path.name != "snapshot.json")
        written.append((made.snapshot.digest, [(path.name, path.read_bytes()) for path in files]))
    assert written[0] == written[1] == written[2]


def test_the_store_has_what_a_paired_test_of_an_ensemble_needs(runs: dict[str, FinishedRun], folder: Path) -> None:
    made = publish(averaged([runs["whole"], runs["ridge"]], "rank"), "tested", [], folder / "runs", Silent())
    found = Evidence(ArtifactStore(folder / "store")).series(made.snapshot)
    assert found is not None
    np.testing.assert_array_equal(found["IC"], made.series["IC"])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["whole", "other label"], "another label"),
        (["whole", "first"], "another test range"),
        (["whole"], "at least two members"),
        (["whole", "whole"], "at least two members"),
    ],
)
def test_what_cannot_be_averaged_is_refused_with_the_reason(
    runs: dict[str, FinishedRun], names: list[str], said: str
) -> None:
    with pytest.raises(DataError) as refused:
        averaged([runs[name] for name in names], "zscore")
    assert said in str(refused.value)


def test_runs_with_other_criteria_are_not_averaged(runs: dict[str, FinishedRun], folder: Path) -> None:
    other = finished(folder, "model.alpha=5", "evaluation.signal.quantile=0.3", *windows_of(runs["whole"]))
    with pytest.raises(DataError, match="cannot be averaged") as refused:
        averaged([runs["whole"], other], "zscore")
    assert "another definition of the metrics" in str(refused.value)


def windows_of(run: FinishedRun) -> list[str]:
    return [text for text in run.snapshot.provenance["command"] if text.startswith("windows.") and text not in SMALL]


def test_nothing_is_merged_where_more_than_the_windows_differs(runs: dict[str, FinishedRun]) -> None:
    with pytest.raises(DataError) as refused:
        merged([runs["first"], runs["ridge"]])
    assert "config.model.alpha" in str(refused.value)


def test_a_run_that_leaks_or_whose_predictions_were_changed_is_no_member(
    runs: dict[str, FinishedRun], folder: Path
) -> None:
    verdict = {"clean": False, "level": "static", "checks": [{"name": "reads", "outcome": "leak", "findings": []}]}
    leaky = replace(runs["ridge"].snapshot, provenance={**runs["ridge"].snapshot.provenance, "audit": verdict})
    with pytest.raises(DataError, match="leaks"):
        averaged([runs["whole"], replace(runs["ridge"], snapshot=leaky)], "zscore")
    swapped = replace(runs["ridge"], folder=runs["trees"].folder)
    with pytest.raises(DataError, match="not those of the snapshot"):
        publish(averaged([runs["whole"], swapped], "zscore"), "a", [], folder / "runs", Silent())


def test_members_that_are_judged_otherwise_today_are_refused(runs: dict[str, FinishedRun], folder: Path) -> None:
    changed = []
    for name in ("whole", "ridge"):
        snapshot = runs[name].snapshot
        command = [text.replace("data.days=420", "data.days=421") for text in snapshot.provenance["command"]]
        later = replace(snapshot, provenance={**snapshot.provenance, "command": command})
        changed.append(replace(runs[name], snapshot=later))
    with pytest.raises(DataError, match="not what it was: data"):
        publish(averaged(changed, "zscore"), "a", [], folder / "runs", Silent())

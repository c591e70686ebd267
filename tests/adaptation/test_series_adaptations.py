"""Every adaptation on sets of series, judged by errors: one series and several, and what only a ranking can judge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.config import compose_config
from harness.errors import ConfigError
from harness.execution.progress import Silent
from harness.run.experiment import ExperimentResult, run

HOURS, SWITCH = 24 * 70, 24 * 45
FEATURES = """
_target_: harness.features.Expressions
expressions: {now: $value, day: 'Ref($value, 24)', sin: 'Ref($hour_sin, -24)', cos: 'Ref($hour_cos, -24)'}
known_ahead: {}
"""
SMALL_DDGDA = ("adaptation.hist_step_n=4", "adaptation.max_epoch=3", "adaptation.lr=0.05")
SMALL_MIXTURE = ("adaptation.half_lives=[48,168,null]", "adaptation.block=24")


def table(folder: Path, *, series: int = 3) -> Path:
    """Write hourly series of a hundredfold size whose shape of the day turns over at `SWITCH`."""
    rng = np.random.default_rng(0)
    hours = np.arange(HOURS)
    shape = np.where(hours < SWITCH, np.sin(hours * np.pi / 12), -np.sin(hours * np.pi / 12))
    times = pd.date_range("2023-01-01", periods=HOURS, freq="h")
    level = rng.normal(0, 0.2, (HOURS, series)) + 3 + shape[:, None]
    frames = [
        pd.DataFrame({"time": times, "series": f"S{at}", "value": level[:, at] * 100.0**at}) for at in range(series)
    ]
    pd.concat(frames).to_parquet(folder / "series.parquet")
    return folder / "series.parquet"


def ran(folder: Path, *overrides: str, series: int = 3) -> ExperimentResult:
    given = (
        f"data.path={table(folder, series=series)}",
        f"output.store={folder / 'store'}",
        f"output.runs={folder / 'runs'}",
        "windows.split=[0.4,0.2,0.4]",
        "windows.step=48",
        "evaluation.significance=null",
    )
    (folder / "features").mkdir(exist_ok=True)
    (folder / "features" / "few.yaml").write_text(FEATURES, encoding="utf-8")
    base = ("data=series", "label=forward_value", "features=few", "preprocess=series", "evaluation=errors")
    asked = [*base, *given, *overrides]
    (folder / "given.json").write_text(json.dumps(asked), encoding="utf-8")
    return run(compose_config(asked, search_path=[folder]), Silent())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ExperimentResult:
    return ran(tmp_path_factory.mktemp("series"))


@pytest.mark.parametrize(
    "adaptation",
    [
        ("adaptation=no_retrain",),
        pytest.param(("adaptation=gf_exp", "adaptation.half_life=100"), marks=pytest.mark.nightly),
        ("adaptation=forgetting_mixture_series", *SMALL_MIXTURE),
        ("adaptation=triggered_series", "adaptation.warm_up=24"),
        ("adaptation=ddgda_series", *SMALL_DDGDA),
    ],
    ids=lambda given: given[0],
)
def test_an_adaptation_forecasts_series(plain: ExperimentResult, adaptation: tuple[str, ...]) -> None:
    own = ran(plain.folder.parents[1], *adaptation)
    assert not np.isnan(own.predictions().score).any()
    assert not np.array_equal(own.predictions().score, plain.predictions().score)


def test_one_series_is_enough_to_learn_weights_by_error(tmp_path: Path) -> None:
    found = ran(tmp_path, "adaptation=ddgda_series", *SMALL_DDGDA, series=1)
    assert not np.isnan(found.predictions().score).any()
    weights = pd.read_parquet(found.folder / "adaptation" / "weights.parquet")
    blocks = weights[weights.window == weights.window.max()].set_index("block_start").weight.iloc[:-1]
    # Blocks before the switch forecast the newest past worse than those after it.
    assert blocks[blocks.index < SWITCH - 48].max() < blocks[blocks.index >= SWITCH].min()


def test_what_only_a_ranking_can_judge_is_refused_for_series(tmp_path: Path) -> None:
    for adaptation in ("ddgda", "forgetting_mixture", "triggered"):
        with pytest.raises(ConfigError, match=f"adaptation={adaptation}_series"):
            ran(tmp_path, f"adaptation={adaptation}")

"""One small sweep, with the files that a fitted DDG-DA leaves, for all tests of the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.cli import main
from harness.config import compose_config
from harness.execution.progress import Silent
from harness.report.cells import Report, read_cells
from harness.run.pipeline import Pipeline
from harness.samples.interfaces import History
from harness.samples.windows import Segment

SMALL = ["data.instruments=24", "data.days=420", "data.members=16", "windows.step=40", "evaluation=portfolio"]
PORTFOLIO = ["evaluation.portfolio.topk=4", "evaluation.portfolio.n_drop=1", "evaluation.portfolio.benchmark=universe"]
DDGDA = [
    *("windows.step=20", "adaptation.hist_step_n=3", "adaptation.max_epoch=2", "adaptation.loss_skip_thresh=8"),
    *("adaptation.fea_imp_n=8", "adaptation.choice_gbdt.rounds=5"),
]


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep of two horizons and two adaptations, two cells refused."""
    folder = tmp_path_factory.mktemp("sweep")
    output = [f"output.runs={folder / 'runs'}", f"output.store={folder / 'store'}"]
    swept = ["label.horizon=5,10", "adaptation=rolling_retrain,gf_exp", "adaptation.half_life=60,-1"]
    assert main(["run", "-m", *SMALL, *PORTFOLIO, *output, *swept]) == 2
    (found,) = (folder / "runs").glob("sweep-*")
    save_adaptation(found, output)
    return found


@pytest.fixture
def report(sweep: Path) -> Report:
    """Return the sweep as it is read."""
    return read_cells([sweep])


def save_adaptation(sweep: Path, output: list[str]) -> None:
    """Leave in the first run what a DDG-DA on its data learns, and a verdict of an audit."""
    rows = json.loads((sweep / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    run = sweep.parent / Path(next(r["folder"] for r in rows if r["folder"] is not None)).name
    if not (run / "adaptation").exists():
        config = compose_config([*SMALL, *PORTFOLIO, *output, "label.horizon=5", "adaptation=ddgda", *DDGDA])
        pipeline = Pipeline(config)
        windows = pipeline.windows
        segment = Segment(windows[0].train.start, windows[-1].learn_stop)
        history = History(pipeline.table.as_of, windows, segment, config.windows.step, config.seed, Silent())
        (run / "adaptation").mkdir()
        config.adaptation.fit(history).save(run / "adaptation")
    checks = [
        {"name": "borders", "question": "Is the purge there?", "outcome": "passed", "findings": [], "note": ""},
        {
            "name": "poison",
            "question": "<b>Poison?</b>",
            "outcome": "leak",
            "findings": [{"what": "it moved"}],
            "note": "",
        },
    ]
    frontier = {"window": 0, "decision": "2017-01-03", "newest": "2016-12-20", "oldest": "2016-01-04", "waste": 1}
    verdict = {"level": "full", "case": "x", "checks": checks, "frontiers": [frontier], "clean": False}
    (run / "audit.json").write_text(json.dumps(verdict), encoding="utf-8")
    assert np.load(run / "adaptation" / "similarity_0.npy").ndim == 2

"""What qlib's README publishes comes out here too, on the CSI 300 from 2008 with qlib's rules and membership."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import run_experiment

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
QLIB_RULES = [
    *("data=cn_csi300", "universe=qlib", "compat=qlib", "preprocess=qlib_linear", "model.include_valid=false"),
    *("evaluation=portfolio", "windows.test=[2017-01-03,2020-07-31]"),
]
# https://github.com/microsoft/qlib/tree/main/examples/benchmarks_dynamic, RR[Linear]
PUBLISHED = {"IC": 0.0945, "ICIR": 0.5989, "rank_IC": 0.1069, "rank_ICIR": 0.6495}
# What README.md and docs/from-qlib.md say of ours, to their digits.
STATED = {"IC": 0.0944, "ICIR": 0.5966, "rank_IC": 0.1075, "rank_ICIR": 0.6514}


@pytest.mark.nightly
@pytest.mark.skipif(
    not (SHARED / "cn_csi300_2005").is_dir(), reason="the CSI 300 panel is not beside this checkout (../shared/data)"
)
def test_retraining_a_linear_model_gives_qlibs_published_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(SHARED))
    result = run_experiment([*QLIB_RULES, f"output.runs={tmp_path / 'runs'}", f"output.store={tmp_path / 'store'}"])
    assert {name: result.metrics[name] for name in STATED} == pytest.approx(STATED, abs=1e-4)
    # 2 % of the value is less than a tenth of each interval; the data are another snapshot of the same market.
    assert {name: result.metrics[name] for name in PUBLISHED} == pytest.approx(PUBLISHED, rel=0.02)
    assert result.intervals is not None
    for name, value in PUBLISHED.items():
        assert result.intervals[name]["low"] < value < result.intervals[name]["high"]

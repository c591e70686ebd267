"""Our side of the jobs that are timed inside: features of a panel, the portfolio of finished scores."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import compose_config
from harness.evaluation.portfolio.backtest import backtest
from harness.evaluation.predictions import Predictions
from harness.features.engine import compute_features
from harness.samples.table import index_rows

YEAR = 238  # trading days by which the peer annualises


def main(request_file: str) -> None:
    request: dict[str, Any] = json.loads(Path(request_file).read_text())
    job, work = request["job"], Path(request["work"])
    panel = compose_config(request["data"]).data.load()
    if job == "alpha158":
        index, features = index_rows(panel), compose_config([*request["data"], "features=alpha158"]).features
        begin = time.perf_counter()
        found = compute_features(panel, features.feature_set(), index.offsets, index.codes)
        said: dict[str, Any] = {"seconds": time.perf_counter() - begin, "rows": len(found.values)}
    else:
        predictions = Predictions.read_parquet(next(work.glob("runs-rr/*/predictions.parquet")))
        strategy = compose_config(request["overrides"]).evaluation.portfolio
        assert strategy is not None
        begin = time.perf_counter()
        result = backtest(panel, predictions, strategy)
        said = {"seconds": time.perf_counter() - begin}
        said["excess return"] = float(np.nanmean(result.series["excess_return"]) * YEAR)
        frame = predictions.to_frame()[["datetime", "instrument", "score"]]
        frame.astype({"instrument": str}).to_parquet(work / "scores.parquet")
    sys.stdout.write("\n" + json.dumps(said) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One job of pyqlib in its own interpreter, by its own classes and defaults; a script, run by `peer_bench.py`.

Reads a request in JSON: the job, the folder with the data in qlib's format, dates, and where to work. Standard output
ends with one line of JSON: what came out, so that it can be seen that both sides did the same work.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

Record = dict[str, Any]

_BASIC, _PORTFOLIO = "qlib.contrib.rolling.base", "qlib.workflow.record_temp"


def main(request_file: str) -> None:
    import qlib

    request: Record = json.loads(Path(request_file).read_text())
    work = Path(request["work"])
    uri = {"uri": f"file:{work}/mlruns", "default_exp_name": "peer"}
    manager = {"class": "MLflowExpManager", "module_path": "qlib.workflow.expm", "kwargs": uri}
    qlib.init(provider_uri=request["data"], region="cn", exp_manager=manager)
    jobs = {"alpha158": _features, "portfolio": _portfolio}
    sys.stdout.write("\n" + json.dumps(jobs.get(request["job"], _rolling)(request, work)) + "\n")


def _features(request: Record, _: Path) -> Record:
    from qlib.contrib.data.handler import Alpha158

    begin = time.perf_counter()
    handler = Alpha158(instruments=request["universe"], start_time=request["train"][0], end_time=request["test"][1])
    return {"seconds": time.perf_counter() - begin, "rows": len(handler.fetch())}


def _portfolio(request: Record, _: Path) -> Record:
    import pandas as pd
    from qlib.backtest import backtest

    settings = portfolio(request)
    frame = pd.read_parquet(request["scores"])
    settings["strategy"]["kwargs"]["signal"] = frame.set_index(["datetime", "instrument"])["score"].sort_index()
    executor = {
        "class": "SimulatorExecutor",
        "module_path": "qlib.backtest.executor",
        "kwargs": {"time_per_step": "day", "generate_portfolio_metrics": True},
    }
    begin = time.perf_counter()
    measured, _ = backtest(executor=executor, strategy=settings["strategy"], **settings["backtest"])
    seconds, report = time.perf_counter() - begin, measured["1day"][0]
    excess = report["return"] - report["bench"] - report["cost"]
    return {"seconds": seconds, "excess return": float(excess.mean() * 238)}


def portfolio(request: Record) -> Record:
    """Return qlib's configuration of a top-k dropout portfolio with the numbers of its benchmark."""
    costs = {"open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5}
    strategy = {"class": "TopkDropoutStrategy", "module_path": "qlib.contrib.strategy"}
    return {
        "strategy": {**strategy, "kwargs": {"signal": "<PRED>", "topk": request["topk"], "n_drop": request["n_drop"]}},
        "backtest": {
            "start_time": request["test"][0],
            "end_time": request["test"][1],
            "account": 100_000_000,
            "benchmark": request["benchmark"],
            "exchange_kwargs": {"limit_threshold": 0.095, "deal_price": "close", **costs},
        },
    }


def task(request: Record) -> Record:
    """Return qlib's task: Alpha158, a model, and the records that are made of the joined predictions."""
    names = ("train", "valid", "test")
    label = {"class": "CSRankNorm" if request["model"] == "linear" else "CSZScoreNorm"}
    handler: Record = {
        "start_time": request["train"][0],
        "end_time": request["test"][1],
        "fit_start_time": request["train"][0],
        "fit_end_time": request["train"][1],
        "instruments": request["universe"],
        "infer_processors": [],
        "learn_processors": [{"class": "DropnaLabel"}, {**label, "kwargs": {"fields_group": "label"}}],
    }
    if request["model"] == "linear":
        scaled = {"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature", "clip_outlier": True}}
        handler["infer_processors"] = [scaled, {"class": "Fillna", "kwargs": {"fields_group": "feature"}}]
        model: Record = {"class": "LinearModel", "module_path": "qlib.contrib.model.linear"}
        model["kwargs"] = {"estimator": "ridge", "alpha": 0.05}
    else:
        model = {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt", "kwargs": request["trees"]}
    alpha158 = {"class": "Alpha158", "module_path": "qlib.contrib.data.handler", "kwargs": handler}
    segments = {name: request[name] for name in names}
    dataset = {"class": "DatasetH", "module_path": "qlib.data.dataset"}
    analysis = {"class": "SigAnaRecord", "kwargs": {"ana_long_short": False, "ann_scaler": 238}}
    records: list[Record] = [{"class": "SignalRecord"}, analysis]
    if request["portfolio"]:
        records.append({"class": "PortAnaRecord", "kwargs": {"config": portfolio(request)}})
    return {
        "model": model,
        "dataset": {**dataset, "kwargs": {"handler": alpha158, "segments": segments}},
        "record": [{**record, "module_path": _PORTFOLIO} for record in records],
    }


def _rolling(request: Record, work: Path) -> Record:
    from qlib.contrib.rolling.base import Rolling
    from qlib.contrib.rolling.ddgda import DDGDA
    from qlib.workflow import R

    configured = work / "task.yaml"
    configured.write_text(json.dumps({"task": task(request)}))  # JSON is YAML
    shared = {"conf_path": configured, "exp_name": "joined", "horizon": request["horizon"], "step": request["step"]}
    if request["job"] == "ddgda":
        run = DDGDA(sim_task_model="linear", working_dir=work, **request["ddgda"], **shared)
    else:
        run = Rolling(**shared)
    run.run()
    found = R.get_recorder(experiment_name="joined", recorder_id=run._rid).list_metrics()
    return {"IC": found.get("IC"), "excess return": found.get("1day.excess_return_with_cost.annualized_return")}


if __name__ == "__main__":
    main(*sys.argv[1:])

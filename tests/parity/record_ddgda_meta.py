"""Recipe of ``ddgda_meta_qlib.json``: qlib's own meta-learning classes on the recorded proxy data, without SUMN60.

SUMP60 and SUMN60 are one feature with two signs. Their common Gram matrix is singular up to the penalty of 0.01, which
float32 does not resolve, so that the recorded run is mostly rounding noise; without one of them it is determined.
Run it with a Python that has pyqlib 0.9.7, pandas 2.3 and torch 2.13:

python -m tests.parity.record_ddgda_meta ../shared/oracle > tests/parity/ddgda_meta_qlib.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import qlib
import torch
from qlib.contrib.meta.data_selection.dataset import MetaDatasetDS, MetaTaskDS
from qlib.contrib.meta.data_selection.net import PredNet
from qlib.contrib.meta.data_selection.utils import ICLoss, preds_to_weight_with_clamp

STEP, TRUNC, HISTORY, TRAIN_SHARE, EPOCHS = 20, 21, 30, 0.62, 30
LEFT_OUT = "SUMN60"
META_INPUTS = (0, 60, 117)
SCORES = [-3.0, -1.0, -0.3, 0.0, 0.2, 0.9, 4.0]


def calendar_of(oracle: Path) -> pd.DatetimeIndex:
    return pd.DatetimeIndex((oracle / "market" / "calendar_day.txt").read_text().split())


def start_qlib(calendar: pd.DatetimeIndex, folder: Path) -> None:
    (folder / "calendars").mkdir()
    (folder / "calendars" / "day.txt").write_text("\n".join(f"{day:%Y-%m-%d}" for day in calendar) + "\n")
    qlib.init(provider_uri=str(folder), region="cn", logging_level=40)


def similarity(oracle: Path) -> pd.DataFrame:
    frame = pd.read_parquet(oracle / "ddgda_linear_csi100" / "data_ic_df.parquet").set_index("datetime")
    frame = frame[sorted(frame.columns)]
    bounds = [tuple(pd.Timestamp(end) for end in name.split("|")) for name in frame.columns]
    frame.columns = pd.MultiIndex.from_tuples(bounds)
    return frame


def meta_info(values: pd.DataFrame, last_learned: pd.Timestamp) -> pd.DataFrame:
    """Return what qlib's own method prepares for a task."""
    holder = object.__new__(MetaDatasetDS)
    holder.internal_data = type("Internal", (), {"data_ic_df": values})()
    holder.trunc_days, holder.step, holder.hist_step_n = TRUNC, STEP, HISTORY
    segments = {"train": (None, last_learned)}
    return holder._prepare_meta_ipt({"dataset": {"kwargs": {"segments": segments}}})


def processed(info: pd.DataFrame, fill_method: str) -> pd.DataFrame:
    holder = object.__new__(MetaTaskDS)
    holder.meta_info, holder.fill_method = info, fill_method
    return holder._get_processed_meta_info()


def tasks(oracle: Path, values: pd.DataFrame, calendar: pd.DatetimeIndex) -> list[dict[str, Any]]:
    proxy = pd.read_parquet(oracle / "ddgda_linear_csi100" / "proxy_fea_label.parquet")
    features = proxy.drop(columns=["datetime", "instrument", "label", LEFT_OUT]).to_numpy(np.float32)
    label = proxy["label"].to_numpy(np.float32)
    days = calendar.get_indexer(pd.DatetimeIndex(proxy["datetime"]))
    keys = list(zip(days.tolist(), proxy["instrument"].tolist(), strict=True))
    first = int(calendar.searchsorted(pd.Timestamp("2011-01-01")))
    made = []
    for at in range(first, int(days[-1]) + 1, STEP):
        info = meta_info(values, calendar[at - TRUNC])
        learned = np.searchsorted(days, at - TRUNC, side="right")
        tested = slice(*np.searchsorted(days, [at, at + STEP]))
        starts = calendar.get_indexer(pd.DatetimeIndex([period[0] for period in info.columns]))
        belongs = np.searchsorted(starts, days[:learned], side="right") - 1
        made.append(
            {
                "info": info,
                "profile": torch.tensor(processed(info, "max").to_numpy(), dtype=torch.float32),
                "belongs": belongs,
                "train": (torch.tensor(features[:learned]), torch.tensor(label[:learned])),
                "test": (torch.tensor(features[tested]), torch.tensor(label[tested]), keys[tested]),
            }
        )
    return made


def predicted(net: PredNet, task: dict[str, Any], *, unweighted: bool = False) -> torch.Tensor:
    rows, blocks = len(task["belongs"]), task["profile"].shape[1]
    belong = torch.zeros(rows, blocks)
    belong[torch.arange(rows), torch.tensor(task["belongs"])] = 1.0
    features, label = task["train"]
    return net(features, label, task["profile"], belong, task["test"][0], ignore_weight=unweighted)[0]


def epoch(net: PredNet, members: Iterable[dict[str, Any]], optimiser: Any = None, *, unweighted: bool = False) -> float:
    losses = []
    with torch.set_grad_enabled(optimiser is not None):
        for task in members:
            loss = ICLoss(50)(predicted(net, task, unweighted=unweighted), task["test"][1], task["test"][2])
            if optimiser is not None:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            losses.append(loss.item())
    return float(np.mean(losses))


def trained(made: list[dict[str, Any]]) -> dict[str, Any]:
    train, test = np.split(np.array(made, dtype=object), [int(len(made) * TRAIN_SHARE)])
    torch.manual_seed(43)
    net = PredNet(step=STEP, hist_step_n=HISTORY, clip_weight=2.0, clip_method="tanh", alpha=0.01)
    record: dict[str, Any] = {
        "unweighted": [epoch(net, train, unweighted=True), epoch(net, test, unweighted=True)],
        "initial": [epoch(net, train), epoch(net, test)],
        "initial_mse": [float(((predicted(net, t) - t["test"][1]) ** 2).mean().item()) for t in train[:5]],
        "epochs": [],
    }
    optimiser = torch.optim.Adam(net.parameters(), lr=0.001)
    for number in range(EPOCHS):
        record["epochs"].append([epoch(net, train, optimiser), epoch(net, test)])
        sys.stderr.write(f"{number} {record['epochs'][-1]}\n")
    record["coefficients"] = net.twm.linear.weight.detach().ravel().tolist()
    record["scale"], record["bias"] = net.twm.k.item(), net.twm.linear.bias.item()
    return record


def main() -> None:
    oracle = Path(sys.argv[1])
    calendar = calendar_of(oracle)
    with tempfile.TemporaryDirectory() as folder:
        start_qlib(calendar, Path(folder))
        made = tasks(oracle, similarity(oracle), calendar)
        inputs = [
            {"task": at, "fill_method": fill, "step_sums": steps.sum(1).tolist(), "block_sums": steps.sum(0).tolist()}
            for at in META_INPUTS
            for fill in ("max", "maxseg", "zero")
            for steps in [processed(made[at]["info"], fill).to_numpy().reshape(HISTORY, STEP, -1).mean(1)]
        ]
        shapes = {
            method: preds_to_weight_with_clamp(torch.tensor(SCORES), 2.0, method).tolist()
            for method in ("tanh", "clamp", "sigmoid")
        }
        record = {"meta_inputs": inputs, "scores": SCORES, "weights": shapes, "training": trained(made)}
    json.dump(record, sys.stdout, sort_keys=True)


if __name__ == "__main__":
    main()

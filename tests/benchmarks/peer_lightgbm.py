"""Times pyqlib's LGBModel on walk-forward windows, in pyqlib's own interpreter; a script, run by `test_models.py`.

Reads one .npz (features, label, times, instruments per row; train, valid and test bounds per window) and one JSON of
parameters. Each window is fitted and predicted as pyqlib's rolling task does it, from a handler that already holds
the data. Standard output ends with one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def main(rows_file: str, parameters_file: str) -> None:
    import qlib
    from qlib.contrib.model.gbdt import LGBModel
    from qlib.data.dataset import DatasetH
    from qlib.data.dataset.handler import DataHandlerLP
    from qlib.workflow import R

    rows = np.load(rows_file)
    given = json.loads(Path(parameters_file).read_text())
    index = pd.MultiIndex.from_arrays(
        [pd.to_datetime(rows["times"].astype("datetime64[ns]")), rows["instruments"]], names=["datetime", "instrument"]
    )
    columns = pd.MultiIndex.from_tuples(
        [("feature", f"f{i}") for i in range(rows["features"].shape[1])] + [("label", "LABEL0")]
    )
    frame = pd.DataFrame(np.column_stack([rows["features"], rows["label"]]), index=index, columns=columns)
    handler = DataHandlerLP.from_df(frame)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        recorder: dict[str, Any] = {"class": "MLflowExpManager", "module_path": "qlib.workflow.expm"}
        recorder["kwargs"] = {"uri": f"sqlite:///{folder}/runs.db", "default_exp_name": "windows"}
        qlib.init(provider_uri=folder, region="cn", exp_manager=recorder)
        with R.start(experiment_name="windows"):
            for train, valid, test in rows["windows"].astype("datetime64[D]").astype(str).tolist():
                begin = time.perf_counter()
                segments = {"train": tuple(train), "valid": tuple(valid), "test": tuple(test)}
                dataset = DatasetH(handler, segments=segments)
                model = LGBModel(
                    **given["model"], num_boost_round=given["rounds"], early_stopping_rounds=given["stopping"]
                )
                model.fit(dataset, verbose_eval=10_000)
                predicted = model.predict(dataset)
                seconds.append(time.perf_counter() - begin)
    sys.stdout.write(json.dumps({"seconds": sum(seconds), "predictions": len(predicted)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

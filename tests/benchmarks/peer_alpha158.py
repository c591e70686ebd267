"""Times pyqlib's Alpha158 on a market, in pyqlib's own interpreter; a script, run by `test_features.py`.

Reads one .npz (calendar, instruments, one (T, N) array per field), writes it in qlib's binary layout, and loads the
features through `QlibDataLoader` as a user would. Standard output ends with one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_store(market: np.lib.npyio.NpzFile, folder: Path) -> None:
    calendar = market["calendar"].astype("datetime64[D]").astype(str)
    fields = [name for name in market.files if name not in ("calendar", "instruments")]
    (folder / "calendars").mkdir(parents=True)
    (folder / "calendars" / "day.txt").write_text("\n".join(calendar))
    spans = []
    for column, code in enumerate(market["instruments"]):
        known = np.flatnonzero(~np.isnan(market["close"][:, column]))
        first, last = known[0], known[-1]
        spans.append(f"{code}\t{calendar[first]}\t{calendar[last]}")
        home = folder / "features" / code.lower()
        home.mkdir(parents=True)
        for name in fields:
            values = market[name][first : last + 1, column]
            np.hstack([[first], values]).astype("<f").tofile(home / f"{name}.day.bin")
    (folder / "instruments").mkdir()
    (folder / "instruments" / "all.txt").write_text("\n".join(spans))


def main(market_file: str, features_file: str) -> None:
    import qlib
    from qlib.data.dataset.loader import QlibDataLoader

    features = json.loads(Path(features_file).read_text())
    market = dict(np.load(market_file))
    with tempfile.TemporaryDirectory() as folder:
        write_store(np.load(market_file), Path(folder))
        qlib.init(provider_uri=folder, region="cn")
        loader = QlibDataLoader(config={"feature": (list(features.values()), list(features))})
        days = market["calendar"].astype("datetime64[D]").astype(str).tolist()
        begin = time.perf_counter()
        frame = loader.load("all", days[0], days[-1])
        seconds = time.perf_counter() - begin
    sys.stdout.write(json.dumps({"seconds": seconds, "rows": len(frame), "features": frame.shape[1]}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

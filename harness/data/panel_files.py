"""A panel as a folder of ``.npy`` arrays, so that a later run maps it into memory instead of parsing it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.calendar import Calendar
from harness.data.panel import Benchmark, Panel, Truth

_META = "panel.json"
_TRUTH = ("exposures", "decay", "premia")


def save_panel(panel: Panel, folder: Path) -> None:
    """Write `panel` into an existing, empty folder; fields are numbered, for a name may be no name of a file."""
    np.save(folder / "calendar.npy", panel.calendar.times, allow_pickle=False)
    np.save(folder / "membership.npy", panel.membership, allow_pickle=False)
    for at, values in enumerate(panel.fields.values()):
        np.save(folder / f"field-{at}.npy", values, allow_pickle=False)
    if panel.benchmark is not None:
        np.save(folder / "benchmark.npy", panel.benchmark.close, allow_pickle=False)
    if panel.truth is not None:
        for name in _TRUTH:
            np.save(folder / f"truth-{name}.npy", getattr(panel.truth, name), allow_pickle=False)
    meta = {
        "name": panel.name,
        "price_field": panel.price_field,
        "instruments": list(panel.instruments),
        "fields": list(panel.fields),
        "benchmark": None if panel.benchmark is None else panel.benchmark.name,
        "has_truth": panel.truth is not None,
        "fingerprint": panel.fingerprint,
    }
    (folder / _META).write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def load_panel(folder: Path) -> Panel:
    """Read what `save_panel` wrote; arrays are memory-mapped, the fingerprint is the stored one."""
    meta = json.loads((folder / _META).read_text(encoding="utf-8"))

    def read(name: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return values

    benchmark = None if meta["benchmark"] is None else Benchmark(meta["benchmark"], read("benchmark"))
    truth = Truth(*(read(f"truth-{name}") for name in _TRUTH)) if meta["has_truth"] else None
    panel = Panel(
        calendar=Calendar(read("calendar")),
        instruments=tuple(meta["instruments"]),
        fields={name: read(f"field-{at}") for at, name in enumerate(meta["fields"])},
        membership=read("membership"),
        benchmark=benchmark,
        truth=truth,
        price_field=meta["price_field"],
        name=meta["name"],
    )
    # The store has checked every byte against its checksum, so hashing the content once more would tell nothing new.
    panel.__dict__["fingerprint"] = meta["fingerprint"]
    return panel

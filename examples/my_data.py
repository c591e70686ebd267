"""A source of one's own: a CSV file of closes with one column per instrument and one row per day.

Replace what `load` reads; it returns dense arrays (times × instruments) and says who is in the universe when.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from harness import Calendar, Panel, existing_file, fingerprint_file


@dataclass(frozen=True)
class MyData:
    """The fields are the keys of the YAML file."""

    path: str
    name: str = "my_data"

    def inputs(self) -> dict[str, str]:
        """Return key → digest of every file that is read, so that a changed file is another panel."""
        return {"path": fingerprint_file(self._file())}

    def load(self) -> Panel:
        """Return the panel: NaN where nothing was traded, and nobody in the universe before the first price."""
        frame = pd.read_csv(self._file(), index_col=0, parse_dates=True).sort_index()
        frame = frame[sorted(frame.columns)]
        close = np.ascontiguousarray(frame.to_numpy(dtype=np.float32))  # (T, N)
        return Panel(
            calendar=Calendar(frame.index.to_numpy(dtype="datetime64[ns]")),
            instruments=tuple(frame.columns),
            fields={"close": close},
            membership=np.maximum.accumulate(~np.isnan(close), axis=0),
            name=self.name,
        )

    def _file(self) -> Path:
        return existing_file(self.path, key="data.path", expected="a CSV file: dates down, instruments across")

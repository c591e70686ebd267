"""Write the series of `data=water_flow`: hourly water flow of a pipeline, as the package river has it.

    pip install 'driftbench[river]'
    python examples/make_water_flow.py water_flow.csv

Source: `river.datasets.WaterFlow`, given to river by Tecnojest s.r.l. and distributed under its BSD 3-clause licence.
"""

from __future__ import annotations

import sys
from pathlib import Path

from river.datasets import WaterFlow


def lines() -> list[str]:
    """Return the table, one row per hour, on the clock of its place with its offset from UTC."""
    rows = (f"{features['Time'].isoformat()},branch,{flow:.2f}" for features, flow in WaterFlow())  # type: ignore[no-untyped-call]
    return ["time,series,flow", *rows]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(lines()) + "\n", encoding="utf-8", newline="\n")

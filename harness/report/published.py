"""Published numbers beside ours, where the scenario is the same but for the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from omegaconf import OmegaConf

from harness.report.cells import Cell, flatten


@dataclass(frozen=True)
class Beside:
    """One published row and the cells that it may stand beside."""

    name: str
    values: Mapping[str, float]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class PublishedTable:
    """The rows of one source that have a counterpart."""

    source: str
    url: str
    scenario: str
    differences: str
    rows: tuple[Beside, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it publishes."""
        return tuple(dict.fromkeys(metric for row in self.rows for metric in row.values))


def published_beside(cells: Sequence[Cell]) -> tuple[PublishedTable, ...]:
    """Return the published tables of which at least one row has a counterpart among the cells."""
    flat = [flatten(cell.snapshot.identity) for cell in cells]
    found = []
    for source in published_sources():
        rows = []
        for row in source["rows"]:
            asked = {**source["where"], **row["where"]}
            matching = [c for c, f in zip(cells, flat, strict=True) if all(f.get(k) == v for k, v in asked.items())]
            if matching:
                rows.append(Beside(row["name"], row["values"], tuple(matching)))
        if rows:
            told = (source["source"], source["url"], source["scenario"], source["differences"])
            found.append(PublishedTable(*told, tuple(rows)))
    return tuple(found)


@cache
def published_sources() -> tuple[dict[str, Any], ...]:
    """Return what ``published.yaml`` holds."""
    text = resources.files("harness.report").joinpath("published.yaml").read_text(encoding="utf-8")
    return tuple(OmegaConf.to_container(OmegaConf.create(text)))  # type: ignore[arg-type]

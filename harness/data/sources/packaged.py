"""Tables that come with the package, so that something real can be run at once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from harness.data.sources.tabular import TabularSource


@dataclass(frozen=True)
class PackagedSource(TabularSource):
    """A `TabularSource` whose files lie in the package's folder ``harness/data/examples``, whatever its `root` says."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", str(resources.files("harness.data") / "examples"))
        super().__post_init__()

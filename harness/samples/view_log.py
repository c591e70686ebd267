"""What was fitted, for which decision, and the newest data that it read: the raw material of the static audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.samples.table import AsOfView, Reads, SampleTable

Mark = tuple[int, int]


@dataclass(frozen=True)
class Artefact:
    """Something that was learned from data before a decision.

    Attributes
    ----------
    name
        What it is, such as ``feature choice``.
    decision
        The earliest calendar position at which it is used: it must have read nothing newer.
    reads
        The newest data that it read.
    """

    name: str
    decision: int
    reads: Reads


def artefact_of(record: Mapping[str, Any]) -> Artefact:
    """Return the artefact whose `dataclasses.asdict` is `record`."""
    return Artefact(record["name"], record["decision"], Reads(**record["reads"]))


@dataclass(eq=False)
class ViewLog:
    """Opens views of a table and remembers them, so that what they released can be told afterwards."""

    table: SampleTable
    _opened: list[AsOfView] = field(default_factory=list)
    _told: list[Artefact] = field(default_factory=list)

    def as_of(self, decision: int) -> AsOfView:
        """Return what is known at the close of calendar position `decision`."""
        view = self.table.as_of(decision)
        self._opened.append(view)
        return view

    @property
    def mark(self) -> Mark:
        """Where the log stands now."""
        return len(self._opened), len(self._told)

    def tell(self, artefacts: Iterable[Artefact]) -> None:
        """Count what was read earlier, to make a result that is now taken from the store."""
        self._told.extend(artefacts)

    def artefacts(self, name: str, since: Mark = (0, 0)) -> tuple[Artefact, ...]:
        """Return what every view has released so far, against its own decision; views of one decision are one.

        Parameters
        ----------
        name
            Of the artefacts.
        since
            An earlier `mark`: what was opened or told before it is left out.
        """
        opened, told = since
        seen = [(view.decision, view.reads) for view in self._opened[opened:]]
        seen += [(artefact.decision, artefact.reads) for artefact in self._told[told:]]
        newest: dict[int, Reads] = {}
        for decision, reads in seen:
            before = newest.get(decision, Reads())
            newest[decision] = Reads(max(before.feature, reads.feature), max(before.label_known, reads.label_known))
        return tuple(Artefact(name, decision, reads) for decision, reads in sorted(newest.items()))

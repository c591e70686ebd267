"""What was fitted, for which decision, and the newest data that it read: the raw material of the static audit."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.samples import AsOfView, Reads, SampleTable

__all__ = ["Artefact", "ViewLog"]


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


@dataclass(eq=False)
class ViewLog:
    """Opens views of a table and remembers them, so that what they released can be told afterwards."""

    table: SampleTable
    _opened: list[AsOfView] = field(default_factory=list)

    def as_of(self, decision: int) -> AsOfView:
        """Return what is known at the close of calendar position `decision`."""
        view = self.table.as_of(decision)
        self._opened.append(view)
        return view

    def artefacts(self, name: str) -> tuple[Artefact, ...]:
        """Return what every view has released so far, against its own decision; views of one decision are one."""
        newest: dict[int, Reads] = {}
        for view in self._opened:
            before = newest.get(view.decision, Reads())
            newest[view.decision] = Reads(
                max(before.feature, view.reads.feature), max(before.label_known, view.reads.label_known)
            )
        return tuple(Artefact(name, decision, reads) for decision, reads in sorted(newest.items()))

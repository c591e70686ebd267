"""A panel that ends early: whoever is given it cannot know what comes later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.data.source import Source
from harness.errors import DataError


@dataclass(frozen=True)
class TruncatedSource:
    """A source whose calendar ends early.

    Attributes
    ----------
    inner
        The source that is cut.
    last
        The last time that is kept, as ISO text.
    """

    inner: Source
    last: str

    def load(self) -> Panel:
        """Return the inner panel up to the last time.

        Raises
        ------
        DataError
            When nothing is left.
        """
        panel = self.inner.load()
        stop = panel.calendar.stop_after(self.last)
        if stop == 0:
            raise DataError(
                "The panel begins after the time at which it should end.",
                where="last",
                got=self.last,
                expected=f"a time from {panel.calendar.format(0)} on",
            )
        return truncate(panel, stop)

    def inputs(self) -> dict[str, str]:
        """Return the inner source's files."""
        return self.inner.inputs()


def truncate(panel: Panel, stop: int) -> Panel:
    """Return the panel of the calendar positions [0, stop).

    An instrument that has neither traded nor been a member by then is left out, for its name is news; so is a
    simulator's truth.
    """
    traded = np.any([~np.isnan(values[:stop]).all(axis=0) for values in panel.fields.values()], axis=0)  # (N,)
    kept = np.flatnonzero(traded | panel.membership[:stop].any(axis=0))
    benchmark = panel.benchmark
    return replace(
        panel,
        calendar=Calendar(panel.calendar.times[:stop]),
        instruments=tuple(panel.instruments[at] for at in kept),
        fields={name: np.ascontiguousarray(values[:stop, kept]) for name, values in panel.fields.items()},
        membership=np.ascontiguousarray(panel.membership[:stop, kept]),
        benchmark=None if benchmark is None else replace(benchmark, close=benchmark.close[:stop].copy()),
        truth=None,
    )

"""The checks that run a configuration again: on another future, on dealt labels, in an empty store."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from harness.audit.frontier import Learned, first_difference, frontier
from harness.audit.futures import SEED, Cut, Futures
from harness.audit.poison import poison
from harness.audit.replay import Replay
from harness.audit.shuffled import association, chance, memory_of, shuffled
from harness.audit.static import Evidence
from harness.audit.verdict import Check, Finding, Frontier
from harness.errors import HarnessError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.predictions import Predictions
from harness.run.pipeline import Pipeline
from harness.samples.windows import Window

# What code under audit may raise on data that it did not expect.
FAILURES = (HarnessError, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)

# Neither a pass nor a failure may be an accident: beyond 5 deviations lies 1 in 1,700,000 of the normal law.
_DEVIATIONS = 5.0
_FEWEST_TIMES = 20

_POISON = "does another future leave the predictions up to its beginning as they were?"
_FOREIGN = "do predictions made on another future know nothing of the real one?"
_EVALUATION = "does another future leave every series up to its beginning as it was?"
_REPEAT = "does a second run in an empty store give the same bits?"
_SHUFFLED = "is the rank IC zero within its error, and another, when labels are dealt at random?"
_ADAPTATION = "does the adaptation name a leak of its own?"

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Trial:
    """Runs one configuration again under changed circumstances.

    Attributes:
        evidence: The finished run.
        replay: Its pipeline.
        futures: The same on other futures.
        pipeline: The stages of the real panel, as the store holds them.
        cuts: How many decisions a full audit looks at, evenly spread; None for every one.
    """

    evidence: Evidence
    replay: Replay
    futures: Futures
    pipeline: Pipeline
    cuts: int | None = None

    @property
    def windows(self) -> tuple[Window, ...]:
        """Those of the run."""
        return self.evidence.result.windows

    def sampled(self) -> list[Check]:
        """Poison after the first decision, with every window, and after a middle one, with that window alone.

        A second run is made only when the predictions differ, to tell a look at the future from chance.
        """
        checks, differs = self._poisoned({self._middle})
        return [*checks, self._repeated()] if differs else checks

    def full(self) -> list[Check]:
        """Poison after every decision and inside the last window, repeat the run, deal the labels at random."""
        last = self.windows[-1]
        inside = Cut((last.test.start + last.test.last) // 2, last.index)
        chosen = {Cut(self.windows[at].decision, at) for at in self._chosen}
        checks, _ = self._poisoned({self._middle, inside}, chosen)
        return [*checks, self._repeated(), self._shuffled()]

    def frontiers(self) -> tuple[Frontier, ...]:
        """Return the frontier of the windows that a full audit looks at."""
        table, adaptation = self.pipeline.table, self.pipeline.adaptation
        learned = Learned(self.replay, table, self.windows, adaptation, self.evidence.predictions)
        self.replay.observer.start("frontier", len(self._chosen))
        found = []
        for index in self._chosen:
            found.append(frontier(learned, index))
            self.replay.observer.advance("frontier")
        self.replay.observer.finish("frontier")
        return tuple(found)

    @property
    def _middle(self) -> Cut:
        middle = self.windows[len(self.windows) // 2]
        return Cut(middle.decision, middle.index)

    @property
    def _chosen(self) -> list[int]:
        """The windows that a full audit looks at."""
        count = len(self.windows)
        spread = np.linspace(0, count - 1, min(self.cuts or count, count))
        return sorted({int(at) for at in np.round(spread)})

    def _poisoned(self, cuts: Set[Cut], spliced: Set[Cut] = frozenset()) -> tuple[list[Check], bool]:
        """Return the checks on other futures: after the first decision for every window, and at each cut for its own.

        At `cuts` everything is computed on the poisoned panel; at those that are only `spliced`, all that is learned.
        """
        first = Cut(self.windows[0].decision, 0)
        whole, _ = self._survived(first, lambda: self.futures.whole(first.position).predictions())
        # A later window may rightly fail on a strange past; whether the first one does is asked alone.
        asked = sorted({first} | cuts | spliced)
        alone = [cut for cut in asked if whole is None or cut != first or len(self.windows) == 1]
        findings = [] if whole is None else list(self._compared(first, whole))
        leaks: dict[str, None] = {}
        self.replay.observer.start("poison", len(alone))
        for cut in alone:
            reuse = cut in spliced - cuts
            one, failed = self._survived(cut, partial(self.futures.window, cut, spliced=reuse))
            findings += failed if one is None else self._compared(cut, one.predictions)
            leaks |= dict.fromkeys(one.leaks if one is not None else ())
            self.replay.observer.advance("poison")
        self.replay.observer.finish("poison")
        named = tuple(Finding(f"{leak[:1].upper()}{leak[1:]}.") for leak in leaks)
        where = [self.evidence.calendar.format(cut.position) for cut in asked]
        note = (
            f"after {', '.join(where)}"
            if len(where) <= 3
            else f"after each of {len(where)} cuts, {where[0]} … {where[-1]}"
        )
        checks = [Check.of("poison", _POISON, tuple(findings), note), self._foreign(whole), self._evaluated()]
        return [*checks, Check.of("adaptation", _ADAPTATION, named)], bool(findings)

    def _survived(self, cut: Cut, attempt: Callable[[], T]) -> tuple[T | None, tuple[Finding, ...]]:
        """Return what was made, or that it could not be: another future must not break what came before."""
        try:
            return attempt(), ()
        except FAILURES as error:
            got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            return None, (Finding("The run fails on another future.", self._where(cut), got),)

    def _compared(self, cut: Cut, other: Predictions) -> tuple[Finding, ...]:
        start = self.windows[cut.window].test.start
        difference = first_difference(self.evidence.predictions, other, start, cut.position + 1)
        if difference is None:
            return ()
        what = "Another future moves predictions that were made before it."
        return (Finding(what, self._where(cut), str(difference), "the same bits"),)

    def _foreign(self, other: Predictions | None) -> Check:
        if other is None:
            return Check.skipped("foreign", _FOREIGN, "the whole run failed on another future")
        start = self.windows[0].decision + 1 + memory_of(self.replay.config.features.feature_set())
        found = association(other, self.evidence.predictions, start)
        if found is None or found.times < _FEWEST_TIMES:
            return Check.skipped("foreign", _FOREIGN, "too few times lie beyond the memory of the features")
        note = f"IC {found.ic:+.4f}, {found.z:+.1f} deviations, {found.times} periods"
        if abs(found.z) <= _DEVIATIONS:
            return Check.of("foreign", _FOREIGN, (), note)
        what = "Scores that were made without the real future agree with it."
        return Check.of("foreign", _FOREIGN, (Finding(what, "", note, f"within {_DEVIATIONS:g} deviations of 0"),))

    def _evaluated(self) -> Check:
        """Judge the same predictions on a panel whose second half of the test range is another one."""
        predictions, config = self.evidence.predictions, self.replay.config
        cut = (predictions.start + predictions.stop - 1) // 2
        known = cut + 1 - predictions.start
        series = [
            evaluate(predictions, panel, config.evaluation, horizon=config.label.horizon).series
            for panel in (self.evidence.panel, poison(self.evidence.panel, cut, SEED))
        ]
        findings = []
        for name, values in series[0].items():
            left, right = values[:known], series[1][name][:known]
            if not np.array_equal(left, right, equal_nan=True):
                at = int(np.flatnonzero(~((left == right) | (np.isnan(left) & np.isnan(right))))[0])
                date = self.evidence.calendar.format(predictions.start + at)
                findings.append(
                    Finding(f"Another future moves the series `{name}`.", date, f"{right[at]:.6g}", f"{left[at]:.6g}")
                )
        return Check.of("evaluation", _EVALUATION, tuple(findings), f"after {self.evidence.calendar.format(cut)}")

    def _repeated(self) -> Check:
        try:
            again = self.futures.again().predictions()
        except FAILURES as error:
            failed = Finding("The second run fails.", "", f"{type(error).__name__}: {error}")
            return Check.of("repeat", _REPEAT, (failed,))
        first = self.evidence.predictions
        difference = first_difference(first, again, first.start, max(first.stop, again.stop))
        findings = (
            () if difference is None else (Finding("A second run gives other predictions.", "", str(difference)),)
        )
        return Check.of("repeat", _REPEAT, findings)

    def _shuffled(self) -> Check:
        table = shuffled(self.pipeline.table, SEED)
        try:
            other = self.replay.predict(table, self.windows, self.replay.adapt(table, self.windows))
        except FAILURES as error:
            return Check.skipped("shuffled", _SHUFFLED, f"it fails on dealt labels: {type(error).__name__}: {error}")
        findings, note = [], "no time can be judged"
        found = chance(other)
        if found is not None:
            note = f"rank IC {found.rank_ic:+.4f} ± {found.error:.4f}"
            if abs(found.z) > _DEVIATIONS:
                what = "Labels that were dealt at random are predicted."
                findings.append(Finding(what, "", note, f"0 within {_DEVIATIONS:g} errors"))
        first = self.evidence.predictions
        if first.score.size and first_difference(first, other, first.start, first.stop) is None:
            findings.append(Finding("Other labels change no prediction: what was learned is not from this run."))
        return Check.of("shuffled", _SHUFFLED, tuple(findings), note)

    def _where(self, cut: Cut) -> str:
        return f"window {cut.window}, after {self.evidence.calendar.format(cut.position)}"

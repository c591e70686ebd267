"""The checks that run a configuration again: on counterfactual data, on permuted labels, in an empty store."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from harness.audit.comparison import association, chance, first_difference, shuffled
from harness.audit.counterfactual import SEED, Counterfactuals, Cut
from harness.audit.frontier import Learned
from harness.audit.poison import poison
from harness.audit.replay import Replay, each
from harness.audit.static import Evidence
from harness.audit.verdict import Check, Finding, Frontier
from harness.errors import HarnessError
from harness.evaluation.evaluate import evaluate
from harness.evaluation.predictions import Predictions
from harness.features.expression import look_back

# What code under audit may raise on data that it did not expect.
FAILURES = (HarnessError, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)

# Neither a pass nor a failure may be an accident: beyond 5 deviations lies 1 in 1,700,000 of the normal law.
_DEVIATIONS = 5.0
_FEWEST_TIMES = 20

_LONGEST_MEMORY = 250  # times, beyond which what a feature still shows of the past fades


@dataclass(frozen=True, eq=False)
class Trial:
    """Runs one configuration again under changed circumstances.

    Attributes:
        evidence: The finished run.
        replay: Its pipeline.
        counterfactuals: The same on counterfactual data.
        cuts: How many decisions a full audit looks at, evenly spread; None for every one.
    """

    evidence: Evidence
    replay: Replay
    counterfactuals: Counterfactuals
    cuts: int | None = None

    def sampled(self) -> list[Check]:
        """Poison after the first decision, with every window, and after a middle one, with that window alone.

        A second run is made only when the predictions differ, to tell a look at the future from chance.
        """
        checks = self._poisoned({self._middle})
        return [*checks, self._repeated()] if checks[0].findings else checks

    def full(self) -> list[Check]:
        """Poison after every decision and inside the last window, repeat the run, permute the labels."""
        last = self.replay.windows[-1]
        inside = Cut((last.test.start + last.test.last) // 2, last.index)
        chosen = {Cut(self.replay.windows[at].decision, at) for at in self._chosen}
        return [*self._poisoned({self._middle, inside}, chosen), self._repeated(), self._shuffled()]

    def frontiers(self) -> tuple[Frontier, ...]:
        """Return the frontier of the windows that a full audit looks at."""
        learned = Learned(self.replay, self.evidence.predictions)
        return tuple(learned.frontier(index) for index in each(self.replay.observer, "frontier", self._chosen))

    @property
    def _middle(self) -> Cut:
        middle = self.replay.windows[len(self.replay.windows) // 2]
        return Cut(middle.decision, middle.index)

    @property
    def _chosen(self) -> list[int]:
        """The windows that a full audit looks at."""
        count = len(self.replay.windows)
        spread = np.linspace(0, count - 1, min(self.cuts or count, count))
        return sorted({int(at) for at in np.round(spread)})

    def _poisoned(self, cuts: Set[Cut], spliced: Set[Cut] = frozenset()) -> list[Check]:
        """Return the checks on other futures: after the first decision for every window, and at each cut for its own.

        At `cuts` everything is computed on the poisoned panel; at those that are only `spliced`, all that is learned.
        """
        first = Cut(self.replay.windows[0].decision, 0)
        try:
            whole = self.counterfactuals.whole(first.position)
        except FAILURES:
            # A later window may rightly fail on a strange past; whether the first one does is asked alone.
            whole = None
        asked = sorted({first} | cuts | spliced)
        alone = [cut for cut in asked if whole is None or cut != first or len(self.replay.windows) == 1]
        findings = [] if whole is None else self._compared(first, whole)
        named: dict[str, None] = {}
        for cut in each(self.replay.observer, "poison", alone):
            try:
                predictions, leaks = self.counterfactuals.window(cut, spliced=cut in spliced - cuts)
            except FAILURES as error:
                got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                findings.append(Finding("The run fails on another future.", self._where(cut), got))
            else:
                named |= dict.fromkeys(leaks)
                findings += self._compared(cut, predictions)
        where = [self.evidence.date(cut.position) for cut in asked]
        places = ", ".join(where) if len(where) <= 3 else f"each of {len(where)} cuts, {where[0]} … {where[-1]}"
        return [
            Check.of("poison", findings, f"after {places}"),
            self._foreign(whole),
            self._evaluated(),
            Check.of("adaptation", [Finding(f"{leak[:1].upper()}{leak[1:]}.") for leak in named]),
        ]

    def _compared(self, cut: Cut, other: Predictions) -> list[Finding]:
        start = self.replay.windows[cut.window].test.start
        difference = first_difference(self.evidence.predictions, other, start, cut.position + 1)
        what = "Another future moves predictions that were made before it."
        return [] if difference is None else [Finding(what, self._where(cut), difference, "the same bits")]

    def _foreign(self, other: Predictions | None) -> Check:
        if other is None:
            return Check.skipped("foreign", "the whole run failed on another future")
        backs = [look_back(expression) for expression in self.replay.config.features.feature_set().parsed()]
        reach = max((_LONGEST_MEMORY if back is None else min(back, _LONGEST_MEMORY) for back in backs), default=0)
        start = self.replay.windows[0].decision + 1 + reach
        found = association(other, self.evidence.predictions, start)
        if found is None or found.times < _FEWEST_TIMES:
            return Check.skipped("foreign", "too few times lie beyond the memory of the features")
        note = f"IC {found.ic:+.4f}, {found.z:+.1f} deviations, {found.times} periods"
        what = "Scores that were made without the real future agree with it."
        agrees = [Finding(what, "", note, f"within {_DEVIATIONS:g} deviations of 0")]
        return Check.of("foreign", agrees if abs(found.z) > _DEVIATIONS else [], note)

    def _evaluated(self) -> Check:
        """Judge the same predictions on a panel whose second half of the test range is another one."""
        predictions, config, panel = self.evidence.predictions, self.replay.config, self.evidence.panel
        cut = (predictions.start + predictions.stop - 1) // 2
        real, other = (
            evaluate(predictions, judged, config.evaluation, horizon=config.label.horizon).series
            for judged in (panel, poison(panel, cut, SEED))
        )
        findings = []
        for name, values in real.items():
            left, right = (series[: cut + 1 - predictions.start] for series in (values, other[name]))
            moved = np.flatnonzero(~np.isclose(left, right, rtol=0, atol=0, equal_nan=True))
            if moved.size:
                at, what = int(moved[0]), f"Another future moves the series `{name}`."
                date = self.evidence.date(predictions.start + at)
                findings.append(Finding(what, date, f"{right[at]:.6g}", f"{left[at]:.6g}"))
        return Check.of("evaluation", findings, f"after {self.evidence.date(cut)}")

    def _repeated(self) -> Check:
        try:
            again = self.counterfactuals.whole(None)
        except FAILURES as error:
            failed = Finding("The second run fails.", "", f"{type(error).__name__}: {error}")
            return Check.of("repeat", [failed])
        first = self.evidence.predictions
        difference = first_difference(first, again, first.start, max(first.stop, again.stop))
        what = "A second run gives other predictions."
        return Check.of("repeat", [] if difference is None else [Finding(what, "", difference)])

    def _shuffled(self) -> Check:
        table = shuffled(self.replay.real.table, SEED)
        try:
            other = self.replay.predict(table, self.replay.adapt(table))
        except FAILURES as error:
            return Check.skipped("shuffled", f"it fails on dealt labels: {type(error).__name__}: {error}")
        findings, note, found = [], "no time can be judged", chance(other)
        if found is not None:
            note = f"rank IC {found.rank_ic:+.4f} ± {found.error:.4f}"
            if abs(found.z) > _DEVIATIONS:
                what = "Labels that were dealt at random are predicted."
                findings.append(Finding(what, "", note, f"0 within {_DEVIATIONS:g} errors"))
        first = self.evidence.predictions
        if first.score.size and first_difference(first, other, first.start, first.stop) is None:
            findings.append(Finding("Other labels change no prediction: what was learned is not from this run."))
        return Check.of("shuffled", findings, note)

    def _where(self, cut: Cut) -> str:
        return f"window {cut.window}, after {self.evidence.date(cut.position)}"

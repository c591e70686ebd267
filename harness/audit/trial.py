"""The checks that run a configuration again, on other data, on permuted labels, in an empty store, and compare."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.audit.poison import Floats, LoadedOnce, Splice, differ, poison, poisoned
from harness.audit.replay import Replay, each
from harness.audit.verdict import Check, Finding, Frontier
from harness.data.source import Source, at_the_root
from harness.errors import HarnessError
from harness.errors.limits import traits_of
from harness.evaluation import formulas
from harness.evaluation.errors import Target
from harness.evaluation.evaluate import evaluate
from harness.evaluation.predictions import Predictions
from harness.features.expression import look_back
from harness.run.experiment import run
from harness.run.pipeline import Pipeline
from harness.run.stages import Cache
from harness.samples import preprocess
from harness.samples.interfaces import AdaptationTraits
from harness.samples.table import SampleTable
from harness.store.artifacts import ArtifactStore

SEED = 20_170_103

# What code under audit may raise on data that it did not expect.
FAILURES = (HarnessError, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)

# Neither a pass nor a failure may be an accident: beyond 5 deviations lies 1 in 1,700,000 of the normal law.
_DEVIATIONS = 5.0
_FEWEST_TIMES = 20

_NO_PROCESSORS = preprocess.Pipeline(features=(), label=(), refit="once")
_LONGEST_MEMORY = 250  # times, beyond which what a feature still shows of the past fades


class Cut(NamedTuple):
    """After which calendar position the future is another one, and which window is then predicted."""

    position: int
    window: int


@dataclass(frozen=True, eq=False)
class Trial:
    """Runs one configuration again under changed circumstances; its raw data are read once."""

    replay: Replay
    folder: Path  # for the stages of other panels
    cuts: int | None = None  # how many decisions a full audit looks at, evenly spread; None for every one

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
        return tuple(frontier(self.replay, index) for index in each(self.replay.observer, "frontier", self._chosen))

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
        """Return the checks on futures that differ after the first decision, and after each cut for its own window."""
        # At `cuts` everything is computed on the poisoned panel; at those that are only `spliced`, all that is learned.
        first = Cut(self.replay.windows[0].decision, 0)
        try:
            whole = self._whole(first.position)
        except FAILURES:
            # A later window may rightly fail on a strange past; whether the first one does is asked alone.
            whole = None
        asked = sorted({first} | cuts | spliced)
        alone = [cut for cut in asked if whole is None or cut != first or len(self.replay.windows) == 1]
        findings = [] if whole is None else self._compared(first, whole)
        named: dict[str, None] = {}
        for cut in each(self.replay.observer, "poison", alone):
            try:
                predictions, leaks = self._window(cut, spliced=cut in spliced - cuts)
            except FAILURES as error:
                got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                findings.append(Finding("The run fails on another future.", self._where(cut), got))
            else:
                named |= dict.fromkeys(leaks)
                findings += self._compared(cut, predictions)
        where = [self.replay.date(cut.position) for cut in asked]
        places = ", ".join(where) if len(where) <= 3 else f"each of {len(where)} cuts, {where[0]} … {where[-1]}"
        return [
            Check.of("poison", findings, f"after {places}"),
            self._foreign(whole),
            self._evaluated(),
            Check.of("adaptation", [Finding(f"{leak[:1].upper()}{leak[1:]}.") for leak in named]),
        ]

    @cached_property
    def _source(self) -> Source:
        return at_the_root(self.replay.config.data, LoadedOnce)

    @cached_property
    def _splice(self) -> Splice:
        return Splice(self.replay.config, self.replay.real.panel, self.replay.real.table)

    def _whole(self, position: int | None) -> Predictions:
        """Run all but the intervals in an empty store, with another future after a position, or on the real data."""
        config, folder = self.replay.config, self.folder / f"whole-{position}"
        changed = replace(
            config,
            data=self._source if position is None else poisoned(self._source, position, SEED),
            output=replace(config.output, store=str(folder / "store"), runs=str(folder / "runs")),
            evaluation=replace(config.evaluation, significance=None),
        )
        return run(changed, self.replay.observer).predictions()

    def _window(self, cut: Cut, *, spliced: bool) -> tuple[Predictions, tuple[str, ...]]:
        """Fit and predict one window with another future; return too which leaks the adaptation names."""
        replay, panel = self.replay, poisoned(self._source, cut.position, SEED).load()
        table = self._splice.of(panel, cut.position) if spliced else None
        with TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as folder:
            if table is None:
                cache = Cache(ArtifactStore(Path(folder)))
                table = Pipeline(replay.config, cache, observer=replay.observer, panel=panel).table
            adaptation = replay.adapt(table)
            predictions = replay.predict_one(table, cut.window, adaptation)
        return predictions, traits_of(adaptation, AdaptationTraits).leaks

    def _compared(self, cut: Cut, other: Predictions) -> list[Finding]:
        start = self.replay.windows[cut.window].test.start
        difference = first_difference(self.replay.predictions, other, start, cut.position + 1)
        what = "Another future moves predictions that were made before it."
        return [] if difference is None else [Finding(what, self._where(cut), difference, "the same bits")]

    def _foreign(self, other: Predictions | None) -> Check:
        if other is None:
            return Check.skipped("foreign", "the whole run failed on another future")
        backs = [look_back(expression) for expression in self.replay.config.features.feature_set().parsed()]
        reach = max((_LONGEST_MEMORY if back is None else min(back, _LONGEST_MEMORY) for back in backs), default=0)
        start = self.replay.windows[0].decision + 1 + reach
        found = association(other, self.replay.predictions, start)
        if found is None or found.times < _FEWEST_TIMES:
            return Check.skipped("foreign", "too few times lie beyond the memory of the features")
        note = f"IC {found.ic:+.4f}, {found.z:+.1f} deviations, {found.times} periods"
        what = "Scores that were made without the real future agree with it."
        agrees = [Finding(what, "", note, f"within {_DEVIATIONS:g} deviations of 0")]
        return Check.of("foreign", agrees if abs(found.z) > _DEVIATIONS else [], note)

    def _evaluated(self) -> Check:
        """Judge the same predictions on a panel whose second half of the test range is another one."""
        predictions, config, panel = self.replay.predictions, self.replay.config, self.replay.real.panel
        cut = (predictions.start + predictions.stop - 1) // 2
        asked: dict[str, Any] = {"horizon": config.label.horizon}
        if config.label.target is not None:
            asked["target"] = Target(*config.label.target)
        real, other = (
            evaluate(predictions, judged, config.evaluation, **asked).series
            for judged in (panel, poison(panel, cut, SEED))
        )
        findings = []
        for name, values in real.items():
            left, right = (series[: cut + 1 - predictions.start] for series in (values, other[name]))
            moved = np.flatnonzero(~np.isclose(left, right, rtol=0, atol=0, equal_nan=True))
            if moved.size:
                at, what = int(moved[0]), f"Another future moves the series `{name}`."
                date = self.replay.date(predictions.start + at)
                findings.append(Finding(what, date, f"{right[at]:.6g}", f"{left[at]:.6g}"))
        return Check.of("evaluation", findings, f"after {self.replay.date(cut)}")

    def _repeated(self) -> Check:
        try:
            again = self._whole(None)
        except FAILURES as error:
            failed = Finding("The second run fails.", "", f"{type(error).__name__}: {error}")
            return Check.of("repeat", [failed])
        first = self.replay.predictions
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
            rank_ic, deviation = found
            note = f"rank IC {rank_ic:+.4f} ± {deviation:.4f}"
            if abs(rank_ic / deviation) > _DEVIATIONS:
                what = "Labels that were dealt at random are predicted."
                findings.append(Finding(what, "", note, f"0 within {_DEVIATIONS:g} errors"))
        first = self.replay.predictions
        if first.score.size and first_difference(first, other, first.start, first.stop) is None:
            findings.append(Finding("Other labels change no prediction: what was learned is not from this run."))
        return Check.of("shuffled", findings, note)

    def _where(self, cut: Cut) -> str:
        return f"window {cut.window}, after {self.replay.date(cut.position)}"


def frontier(replay: Replay, index: int) -> Frontier:
    """Return the newest and the oldest learning time that moves a prediction of window `index` of a clean replay.

    Found by bisection: perturbing everything from a time on (up to it) moves a prediction exactly when the newest
    (oldest) such time lies there. The model is fitted again at each probe; the adaptation is held.
    """
    window, date = replay.windows[index], replay.date

    @cache
    def moves(start: int, stop: int) -> bool:
        if start >= stop:
            return False
        other = _perturbed(replay, index, start, stop)
        return first_difference(replay.predictions, other, window.test.start, window.test.stop) is not None

    decision, guess = window.decision, window.learn_stop - 1
    if not moves(guess, decision) and not moves(0, decision):
        return Frontier(index, date(decision), None, None, None)
    # Where a sound pipeline has its borders, two probes each confirm it.
    newest = _farthest(lambda at: moves(at, decision), 0, decision, guess)
    oldest = _farthest(lambda at: moves(0, at + 1), newest, -1, window.train.start)
    allowed = decision - replay.real.table.look_ahead - replay.config.windows.embargo
    return Frontier(index, date(decision), date(newest), date(oldest), allowed - newest)


def _perturbed(replay: Replay, index: int, start: int, stop: int) -> Predictions:
    """Return what window `index` predicts when the samples of times [start, stop) are changed."""
    # Processors that are fitted once, before `start`, are held, and only the changed samples processed again: the run
    # is known to be clean by now, so each time depends on its own samples and on what was fitted before.
    table, held = replay.real.table, None
    if replay.fitted_once is None or start < replay.fitted_once[0]:
        table = perturbed(table, start, stop)
    else:
        _, fitted, clean = replay.fitted_once
        rows = clean.index.rows(start, stop)
        changed = preprocess.apply(perturbed(table.restricted(start, stop), start, stop), fitted)
        features, label = np.array(clean.features), np.array(clean.label)
        features[rows], label[rows] = changed.features, changed.label
        table, held = clean.with_columns(features, clean.feature_names, label), _NO_PROCESSORS
    return replay.predict_one(table, index, replay.real.adaptation, held)


def perturbed(table: SampleTable, start: int, stop: int) -> SampleTable:
    """Return the table with the samples of times [start, stop) changed.

    At each time the labels are handed on from each labelled row to the next, and every feature grows by an eighth.
    """
    rows = table.index.rows(start, stop)
    features, label = np.array(table.features), np.array(table.label)
    features[rows] *= np.float32(1.125)
    for time in range(start, stop):
        own = table.index.rows(time, time + 1)
        known = own.start + np.flatnonzero(~np.isnan(label[own]))
        label[known] = np.roll(label[known], 1)
    return replace(table, features=features, label=label)


def _farthest(holds: Callable[[int], bool], inside: int, outside: int, guess: int) -> int:
    """Return the last position on the way from `inside`, where it `holds`, to `outside`, where it does not any more."""
    probes = [guess + (1 if inside < outside else -1), guess]
    while abs(outside - inside) > 1:
        at = probes.pop() if probes else (inside + outside) // 2
        if min(inside, outside) < at < max(inside, outside):
            inside, outside = (at, outside) if holds(at) else (inside, at)
    return inside


def first_difference(left: Predictions, right: Predictions, start: int, stop: int) -> str | None:
    """Return where two runs part within calendar positions [start, stop), in words, or None when every bit agrees.

    Both must have predicted the whole period. Rows are matched by (time, instrument).
    """
    scores = [_dense(run, run.score, start, stop) for run in (left, right)]
    known = [~np.isnan(_dense(run, np.zeros_like(run.score), start, stop)) for run in (left, right)]
    missing = known[0] != known[1]
    different = missing | differ(scores[0], scores[1])
    if not different.any():
        return None
    both = different & ~missing
    largest = np.nanmax(np.abs(scores[0][both].astype(np.float64) - scores[1][both]), initial=0.0)
    time = left.calendar.format(start + int(np.argmax(different.any(axis=1))))
    gone = f", {missing.sum()} of them in one run only" if missing.any() else ""
    count = (known[0] | known[1]).sum()
    return f"{different.sum()} of {count} predictions differ from {time} on{gone}; by up to {largest:.3g}"


def _dense(predictions: Predictions, values: Floats, start: int, stop: int) -> Floats:
    """Return (stop − start, N) values of one per predicted row; NaN where there is none."""
    times = predictions.row_times
    inside = (times >= start) & (times < stop)
    dense = np.full((stop - start, len(predictions.instruments)), np.float32(np.nan))
    dense[times[inside] - start, predictions.codes[inside]] = values[inside]
    return dense


def shuffled(table: SampleTable, seed: int) -> SampleTable:
    """Return the table with its labels permuted among the labelled rows of each time, independently."""
    rng = np.random.Generator(np.random.PCG64(seed))
    label = np.array(table.label)
    known = np.flatnonzero(~np.isnan(label))
    times = np.searchsorted(table.index.offsets, known, side="right") - 1
    label[known] = table.label[known[np.lexsort((rng.random(known.size), times))]]
    return replace(table, label=label)


def chance(predictions: Predictions) -> tuple[float, float] | None:
    """Return the mean rank IC against permuted labels and its standard error; None when no time can be judged.

    Given the scores, the rank ICs of times are independent, with mean 0 and variance 1 / (n − 1) for n instruments
    without ties: the standard error is exact, whatever the scores are.
    """
    daily = formulas.rank_ic(predictions.score, predictions.label, predictions.offsets)
    both = ~(np.isnan(predictions.score) | np.isnan(predictions.label))
    counts: npt.NDArray[np.int64] = np.diff(np.concatenate([[0], np.cumsum(both)])[predictions.offsets])
    judged = ~np.isnan(daily) & (counts > 1)
    if not judged.any():
        return None
    return float(daily[judged].mean()), float(np.sqrt(np.sum(1.0 / (counts[judged] - 1))) / judged.sum())


class Association(NamedTuple):
    """How scores go with labels at `times` times: mean IC, and that in deviations over permutations of instruments."""

    ic: float
    z: float
    times: int


def association(scores: Predictions, labels: Predictions, start: int) -> Association | None:
    """Return how scores of one run go with the labels of another, from calendar position `start` on.

    Both are standardised at each time. Holding a permutation for all times keeps every autocorrelation, so that mean
    and variance of the statistic are exact for exchangeable instruments (Hoeffding, *A combinatorial central limit
    theorem*, 1951), however slowly scores and labels move. None when nothing can be compared.
    """
    stop = min(scores.stop, labels.stop)
    if start >= stop:
        return None
    left = _standardised(scores, scores.score, start, stop)
    right = _standardised(labels, labels.label, start, stop)
    times = int((left.any(axis=1) & right.any(axis=1)).sum())
    if times == 0:
        return None
    pairs = left.T @ right  # (N, N): instrument of the score, instrument of the label
    n = pairs.shape[0]
    spread = pairs - pairs.mean(axis=0) - pairs.mean(axis=1)[:, None] + pairs.mean()
    deviation = float(np.sqrt(np.square(spread).sum() / (n - 1)))
    if deviation == 0.0:
        return None
    excess = float(np.trace(pairs) - pairs.sum() / n)
    norm = float(np.sqrt(np.square(left).sum() * np.square(right).sum()))
    return Association(ic=float(np.trace(pairs)) / norm, z=excess / deviation, times=times)


def _standardised(predictions: Predictions, values: Floats, start: int, stop: int) -> formulas.Doubles:
    """Return (stop − start, N) values with mean 0 and length 1 at each time; 0 where there is none."""
    given = _dense(predictions, values, start, stop).astype(np.float64)
    known = np.isfinite(given)
    dense = np.where(known, given, 0.0)
    mean = dense.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    centred = np.where(known, dense - mean[:, None], 0.0)
    length = np.sqrt(np.square(centred).sum(axis=1))
    # What is left of a constant time is rounding error.
    defined = length > 1e-6 * np.sqrt(np.square(dense).sum(axis=1))
    return np.where(defined[:, None], centred / np.where(defined, length, 1.0)[:, None], 0.0)

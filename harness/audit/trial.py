"""The checks that compute a configuration again in other worlds, each in a fresh process, and compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple, TypeVar

import numpy as np

from harness.audit.differences import first_difference, metrics_that_differ, series_that_differ, within
from harness.audit.fresh import FreshProcess
from harness.audit.frontier import frontiers
from harness.audit.orders import Arrays, Recorded, known_before, orders, out_of_reach
from harness.audit.prior import is_excused, is_pretrained, kept_share, prior_check, prior_share
from harness.audit.replay import Replay, each
from harness.audit.roots import Roots, Tree, roots_of, tree_of
from harness.audit.splice import PastWriter, Splice, past_of
from harness.audit.verdict import Check, Finding, Frontier
from harness.audit.world import ORDERS, SERIES, WHOLE, World, window_name
from harness.evaluation.evaluate import DailySeries
from harness.evaluation.predictions import Predictions
from harness.run.pipeline import SERIES as SERIES_FILE
from harness.store.artifacts import canonical_json
from harness.store.codec import load, save
from harness.store.records import describe, walk

SEED = 20_170_103

# How many windows are predicted with mirrored labels.
_FEW, _MANY = 4, 12
_MARKETS = 3  # further other futures that a portfolio is followed in, where its market is made of raw data
_PERMUTATIONS = 8  # times that labels are permuted, where prior knowledge shows
_SHOWN = 3  # findings of one kind

_OF_THE_PORTFOLIO = ("portfolio_", "benchmark_", "excess_")

Record = dict[str, Any]
Value = TypeVar("Value")


class Cut(NamedTuple):
    """After which calendar position the future is another one, and which window is then predicted; −1: all of them."""

    position: int
    window: int


@dataclass(eq=False)
class Trial:
    """Computes one configuration in other worlds; its raw data are read once."""

    replay: Replay
    folder: Path  # for everything of other worlds
    cuts: int | None = None  # how many decisions a full audit looks at, evenly spread; None for every one
    opened: dict[str, None] = field(default_factory=dict)
    held: str = ""  # what keeps the fresh process from files and network

    def sampled(self) -> list[Check]:
        """Poison after a middle decision, with every window, and inside a late one, with that window alone."""
        return [*self._checks([self._inside(self._last)], [], _FEW), self._outside()]

    def full(self) -> list[Check]:
        """Poison after every decision too, and inside the first and a middle window."""
        inside = {self._inside(at) for at in (0, self._middle, self._last)}
        decisions = [Cut(self.replay.windows[at].decision, at) for at in self._chosen]
        return [*self._checks(sorted(inside), decisions, _MANY), self._outside()]

    def frontiers(self) -> tuple[Frontier, ...]:
        """Return the frontier of the windows that a full audit looks at."""
        return frontiers(self.replay, self._chosen)

    @property
    def _middle(self) -> int:
        return len(self.replay.windows) // 2

    @property
    def _last(self) -> int:
        """The last window whose test segment can be cut, and leaves a future to be another one."""
        return max((w.index for w in self.replay.windows if len(w.test) > 1), default=len(self.replay.windows) - 1)

    @property
    def _chosen(self) -> list[int]:
        """The windows that a full audit looks at."""
        count = len(self.replay.windows)
        return _spread(count, min(self.cuts or count, count))

    def _inside(self, window: int) -> Cut:
        test = self.replay.windows[window].test
        return Cut((test.start + max(test.last - 1, test.start)) // 2, window)

    def _checks(self, alone: Sequence[Cut], spliced: Sequence[Cut], mirrored: int) -> list[Check]:
        """Return the checks on the whole run, on windows alone, and on mirrored labels."""
        middle = Cut(self.replay.windows[self._middle].decision, -1)
        asked, found = sorted({middle, *alone, *spliced}), list[Finding]()
        why = "the whole run failed on another future"
        checks = [Check.skipped("reported", why), Check.skipped("batches", why)]
        with self._process("poisoned") as process:
            for cut in each(self.replay.observer, "poison", asked):
                made = self._future(process, cut, cut in spliced and cut not in alone)
                if cut == middle and "error" in made.outcome:
                    # A later window may rightly fail on a strange past; whether its own one does is asked alone.
                    made = self._future(process, Cut(cut.position, self._middle), False)
                elif cut == middle:
                    checks = list(self._of_the_whole(made, process))
                found += self._compared(made)
                rmtree(made.world.folder)
            prior = self._mirrored(process, mirrored)
        where = [self.replay.date(cut.position) for cut in asked]
        places = ", ".join(where) if len(where) <= 3 else f"each of {len(where)} cuts, {where[0]} … {where[-1]}"
        note = f"after {places}{f'; {self._again()}' if found else ''}"
        return [Check.of("poison", found, note), *checks, prior]

    # Worlds

    @cached_property
    def _tree(self) -> Tree:
        return tree_of(self.replay.config)

    @cached_property
    def _roots(self) -> Roots:
        return roots_of(self._tree["data"], {name: part for name, part in self._tree.items() if name != "data"})

    @cached_property
    def _splice(self) -> tuple[Splice, PastWriter]:
        splice = Splice(self.replay.config, self.replay.real.panel, self.replay.real.table)
        return splice, PastWriter(self.folder / "poisoned" / "past")

    def _process(self, name: str) -> FreshProcess:
        texts = (text for part in self._parts.values() if is_pretrained(part) for _, text in walk(describe(part)))
        files = [text for text in texts if isinstance(text, str) and Path(text).is_absolute()]
        return FreshProcess(self.folder / name, self._roots.classes, files)

    @property
    def _parts(self) -> dict[str, object]:
        """The configured objects that may declare what they knew before."""
        config = self.replay.config
        parts = {name: getattr(config, name) for name in ("features", "preprocess", "adaptation", "model")}
        return {**parts, "portfolio": config.evaluation.portfolio}

    def _config(self, folder: Path, after: int | None, since: int | None = None, seed: int = SEED) -> Tree:
        """Write the raw data of a world, and return its configuration: other data, an empty store, no intervals."""
        panel = self.replay.real.panel
        time, origin = (None if at is None else panel.calendar.format(at) for at in (after, since))
        data = self._roots.write(folder, time, seed, panel.known_ahead, origin)
        rest = self._roots.replaced(self._roots.elsewhere, folder)
        evaluation = {**rest["evaluation"], "significance": None}
        output = {"store": str(folder / "store"), "runs": str(folder / "runs")}
        return {**rest, "data": data, "output": output, "evaluation": evaluation, "audit": "none"}

    def _future(self, process: FreshProcess, cut: Cut, is_spliced: bool) -> Made:
        folder = process.folder / f"after-{cut.position}-{cut.window}"
        since = self.replay.windows[0].decision if is_spliced else None
        config, past = self._config(folder, cut.position, since), None
        if is_spliced:
            splice, writer = self._splice
            proved = splice.past(cut.position)
            past = None if proved is None else str(writer.write(proved))
        windows = () if cut.window < 0 else (cut.window,)
        return self._ask(process, cut, World(str(folder), config, cut.position, windows, past))

    def _ask(self, process: FreshProcess, cut: Cut, world: World) -> Made:
        outcome = process.ask(world)
        self.held = process.held
        self.opened |= dict.fromkeys(outcome["opened"])
        return Made(cut, world, outcome)

    # What is compared

    def _compared(self, made: Made) -> Iterator[Finding]:
        cut, real = made.cut, self.replay.predictions
        where = "every window" if cut.window < 0 else f"window {cut.window}"
        where = f"{where}, after {self.replay.date(cut.position)}"
        if "error" in made.outcome:
            yield Finding("The run fails on another future.", where, made.outcome["error"])
            return
        # In the segment in which the future begins a batch has other rows, and may round otherwise.
        segment = next(w.test for w in self.replay.windows if w.test.start <= cut.position < w.test.stop)
        start = real.start if cut.window < 0 else self.replay.windows[cut.window].test.start
        difference = first_difference(real, made.predictions(cut.window), start, cut.position + 1, segment.start)
        if difference is not None:
            what = "Another future moves predictions that were made before it."
            yield Finding(what, where, difference, "the same bits")

    def _of_the_whole(self, made: Made, process: FreshProcess) -> Iterator[Check]:
        replay, cut = self.replay, made.cut.position
        real, ahead = replay.result, replay.config.label.look_ahead
        series, stop = DailySeries.read(real.folder / SERIES_FILE), cut + 1 - replay.predictions.start
        found = list(series_that_differ(series, made.read(Arrays, SERIES), stop, ahead))
        last = replay.real.panel.calendar.format(max(cut - ahead, 0))
        found += metrics_that_differ(real.snapshot.metrics["per_window"], made.outcome["per_window"], last)
        found = found or list(self._markets(process, series, cut))
        yield Check.of("reported", found, f"after {replay.date(cut)}")
        what = "Earlier scores of a test segment are others when {}."
        batches = [Finding(what.format(how), f"window {at}") for at, how in made.outcome["batches"]]
        yield Check.of("batches", batches[:_SHOWN], f"{len(replay.windows)} segments, each divided at two times")
        recorded = replay.judged.recorded
        if recorded is not None:
            yield Check.of("orders", self._orders(made, recorded), f"signals of {replay.date(cut)}")

    def _markets(self, process: FreshProcess, series: DailySeries, cut: int) -> Iterator[Finding]:
        """Follow the portfolio of the real predictions in more other futures: a choice of few may fall alike in one.

        Not where the configured source is a raw one, whose panel up to the cut is the same by construction.
        """
        if self.replay.config.evaluation.portfolio is None or canonical_json(self._tree["data"]) in self._roots.nodes:
            return
        shown = within(self.replay.predictions, self.replay.predictions.start, cut + 1)
        stop = cut + 1 - shown.start
        own = replace(series, values={k: v for k, v in series.values.items() if k.startswith(_OF_THE_PORTFOLIO)})
        for seed in range(SEED + 1, SEED + 1 + _MARKETS):
            folder = process.folder / f"market-{seed}"
            config = self._config(folder, cut, seed=seed)
            save(folder, shown, WHOLE)
            made = self._ask(process, Cut(cut, -1), World(str(folder), config, cut, judged=str(folder)))
            is_judged = "error" not in made.outcome  # it may fail on instruments that another market has not
            found = list(series_that_differ(own, made.read(Arrays, SERIES), stop, 0)) if is_judged else []
            rmtree(folder)
            if found:
                yield from found
                return

    def _orders(self, made: Made, recorded: Recorded) -> Iterator[Finding]:
        """Hold the orders of the time after the cut against the real ones, and all their prices against their bars."""
        replay, at, trading = self.replay, made.cut.position + 1, recorded.trading
        panel, known = replay.real.panel, replay.predictions
        is_raw = any(trading.deal_price in root.fields for root in self._roots.panels.values())
        both = orders(recorded, panel, at), made.read(Arrays, ORDERS)
        yield from known_before(*both, trading.limit_threshold is not None, replay.date(at), not is_raw)
        yield from out_of_reach(panel, trading, known.start, known.stop, replay.date(known.start))

    # Other labels, and the same again

    def _mirrored(self, process: FreshProcess, count: int) -> Check:
        """Predict some windows with every label's sign turned, and look how much of the scores stays as it was.

        What stays and knows the real labels is held against permuted labels: a learner of the size of labels, which
        turning leaves as it is, follows these.
        """
        replay = self.replay
        windows = tuple(_spread(len(replay.windows), min(count, len(replay.windows))))
        folder, real = process.folder / "mirrored", replay.real
        config, writer = self._config(folder, None), PastWriter(folder / "past")
        past = writer.write(past_of(real.panel, real.table, len(real.panel.calendar)))
        world = World(str(folder), config, windows=windows, past=str(past), labels=((-1, 0),))
        made = self._ask(process, Cut(-1, -1), world)
        if "error" in made.outcome:
            return Check.skipped("prior", f"it fails on mirrored labels: {made.outcome['error']}")
        tests = [replay.windows[at].test for at in windows]
        shown = [within(replay.predictions, test.start, test.stop) for test in tests]
        share, kept = prior_share(shown, made.each(0)), None
        if share is not None and share.is_informed and not is_excused(self._parts):
            permuted = tuple((sign, seed) for seed in range(1, _PERMUTATIONS + 1) for sign in (1, -1))
            again = self._ask(process, Cut(-1, -1), replace(world, folder=str(folder / "permuted"), labels=permuted))
            if "error" not in again.outcome:
                pairs = [(again.each(at), again.each(at + 1)) for at in range(0, len(permuted), 2)]
                kept = kept_share(shown, made.each(0), pairs)
        first = replay.real.panel.calendar.times[replay.windows[0].decision]
        return prior_check(self._parts, share, first, kept)

    def _again(self) -> str:
        """Say what a second run gives, in a fresh process and an empty store: a look at the future is no chance."""
        with self._process("repeated") as process:
            folder = process.folder / "again"
            made = self._ask(process, Cut(-1, -1), World(str(folder), self._config(folder, None)))
            if "error" in made.outcome:
                return f"a second run fails: {made.outcome['error']}"
            again, first = made.predictions(-1), self.replay.predictions
            difference = first_difference(first, again, first.start, max(first.stop, again.stop))
            said = "the same bits: it is no chance"
            return f"a second run gives {said if difference is None else f'other predictions too: {difference}'}"

    def _outside(self) -> Check:
        found = [Finding(f"The code under audit opens {what}.") for what in self.opened]
        return Check.of("outside", found, self.held)


@dataclass(frozen=True)
class Made:
    """A world that has been answered."""

    cut: Cut
    world: World
    outcome: Record

    def predictions(self, window: int) -> Predictions:
        """Return the predictions of one window, or of the whole run for −1."""
        return self.read(Predictions, WHOLE if window < 0 else window_name(window))

    def each(self, number: int) -> list[Predictions]:
        """Return the predictions of every window that was asked for, with the labels of a number."""
        return [self.read(Predictions, window_name(at, number)) for at in self.world.windows]

    def read(self, kind: type[Value], name: str) -> Value:
        """Return one of its files."""
        return load(Path(self.world.folder), kind, name, mapped=False)


def _spread(count: int, wanted: int) -> list[int]:
    return sorted({int(at) for at in np.round(np.linspace(0, count - 1, wanted))})

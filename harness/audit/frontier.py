"""The frontier: which learning times move the predictions of a window, found by changing samples."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from harness.audit.differences import first_difference
from harness.audit.replay import Replay, predicted
from harness.audit.verdict import Frontier
from harness.errors.limits import traits_of
from harness.run.rolling import Recipe
from harness.run.schedule import learning_segments
from harness.samples import preprocess
from harness.samples.interfaces import FittedPreprocess, PreprocessTraits
from harness.samples.table import Floats, SampleTable

_NO_PROCESSORS = preprocess.Pipeline(features=(), label=(), refit="once")
# A question that a search asks: do changed samples of times [start, stop) move the window's predictions?
Probe = tuple[int, int]
Asking = Generator[Probe, bool, bool]


def frontiers(replay: Replay, chosen: Sequence[int]) -> tuple[Frontier, ...]:
    """Return the newest and the oldest learning time that moves a prediction of each chosen window of a clean replay.

    Found by bisection: perturbing everything from a time on (up to it) moves a prediction exactly when the newest
    (oldest) such time lies there. The models are fitted again at each probe; the adaptation is held. Windows that ask
    the same, as those do that begin at one time, are answered together.
    """
    observer, found, held = replay.observer, dict[int, Frontier](), _held(replay)
    searches = {index: _search(replay, index) for index in chosen}
    asked = {index: next(search) for index, search in searches.items()}
    observer.start("frontier", len(searches))
    while asked:
        following = dict[int, Probe]()
        for probe in dict.fromkeys(asked.values()):
            asking = sorted(index for index, one in asked.items() if one == probe)
            for index, moved in zip(asking, _moved(replay, held, probe, asking), strict=True):
                try:
                    following[index] = searches[index].send(moved)
                except StopIteration as end:
                    found[index] = end.value
                    observer.advance("frontier")
        asked = following
    observer.finish("frontier")
    return tuple(found[index] for index in chosen)


def _search(replay: Replay, index: int) -> Generator[Probe, bool, Frontier]:
    """Ask for the frontier of one window; each question once."""
    window, date, known = replay.windows[index], replay.date, dict[Probe, bool]()

    def moves(start: int, stop: int) -> Asking:
        if start < stop and (start, stop) not in known:
            known[start, stop] = yield start, stop
        return start < stop and known[start, stop]

    decision, guess = window.decision, window.learn_stop - 1
    if not (yield from moves(guess, decision)) and not (yield from moves(0, decision)):
        return Frontier(index, date(decision), None, None, None)
    # Where a sound pipeline has its borders, two probes each confirm it.
    newest = yield from _farthest(lambda at: moves(at, decision), 0, decision, guess)
    oldest = yield from _farthest(lambda at: moves(0, at + 1), newest, -1, window.train.start)
    allowed = decision - replay.real.table.look_ahead - replay.config.windows.embargo
    return Frontier(index, date(decision), date(newest), date(oldest), allowed - newest)


@dataclass(frozen=True, eq=False)
class _Held:
    """Processors that are fitted once, on times before `stop`, and the processed table, whose arrays are its own."""

    stop: int
    fitted: FittedPreprocess
    table: SampleTable


def _held(replay: Replay) -> _Held | None:
    """Return them; None when each window fits its own."""
    recipe, real = replay.config.preprocess, replay.real.table
    if recipe.refit != "once" or traits_of(recipe, PreprocessTraits).restores_label:
        return None
    train, _ = learning_segments(replay.windows[0], replay.config.model)
    fitted = recipe.fit(real.as_of(replay.windows[0].decision), train)
    table = preprocess.apply(real, fitted)
    is_own = (
        isinstance(table.features, np.ndarray) and table.features.flags.owndata and table.features is not real.features
    )
    features = table.features if is_own else np.array(table.features)
    return _Held(train.stop, fitted, table.with_columns(features, table.feature_names, np.array(table.label)))


def _moved(replay: Replay, held: _Held | None, probe: Probe, asking: list[int]) -> Iterator[bool]:
    """Yield, for each window that asks, whether it is predicted otherwise."""
    config, processors = replay.config, replay.config.preprocess
    world: AbstractContextManager[SampleTable]
    if held is not None and probe[0] >= held.stop:
        # They stay, and only the changed samples are processed again: the run is known to be clean by now, so each
        # time depends on its own samples and on what was fitted before.
        world, processors = _changed(replay, held, probe), _NO_PROCESSORS
    else:
        world = nullcontext(perturbed(replay.real.table, *probe))
    recipe = Recipe(processors, replay.real.adaptation, config.model, config.windows.step)
    with world as table:
        for index, other in zip(asking, predicted(recipe, replay.windows, table, asking), strict=True):
            test = replay.windows[index].test
            yield first_difference(replay.predictions, other, test.start, test.stop) is not None


@contextmanager
def _changed(replay: Replay, held: _Held, probe: Probe) -> Iterator[SampleTable]:
    """Give the processed table with the samples of some times changed: in place, and changed back afterwards."""
    table, rows = held.table, held.table.index.rows(*probe)
    other = preprocess.apply(perturbed(replay.real.table.restricted(*probe), *probe), held.fitted)
    kept = np.array(table.features[rows]), np.array(table.label[rows])
    _write(table, rows, np.asarray(other.features), other.label)
    try:
        yield replace(table)
    finally:
        _write(table, rows, *kept)


def _write(table: SampleTable, rows: slice, *columns: Floats) -> None:
    for values, new in zip((table.features, table.label), columns, strict=True):
        values.setflags(write=True)
        values[rows] = new
        values.setflags(write=False)


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


def _farthest(holds: Callable[[int], Asking], inside: int, outside: int, guess: int) -> Generator[Probe, bool, int]:
    """Return the last position on the way from `inside`, where it `holds`, to `outside`, where it does not any more."""
    probes = [guess + (1 if inside < outside else -1), guess]
    while abs(outside - inside) > 1:
        at = probes.pop() if probes else (inside + outside) // 2
        if min(inside, outside) < at < max(inside, outside):
            inside, outside = (at, outside) if (yield from holds(at)) else (inside, at)
    return inside

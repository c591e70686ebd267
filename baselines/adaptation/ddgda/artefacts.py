"""What DDG-DA fits on the way, and the newest data behind it, for the static audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from baselines.adaptation.ddgda.meta_input import overlap
from baselines.adaptation.ddgda.meta_split import MetaTask, Phase
from baselines.adaptation.ddgda.similarity import KnownSimilarity
from harness.samples.table import Artefact, Reads

if TYPE_CHECKING:
    from baselines.adaptation.ddgda.fitted import FittedDDGDA


def artefacts_of(fitted: FittedDDGDA) -> tuple[Artefact, ...]:
    """Return feature choices, processors, similarities, block proxies, inner problems and the weight model.

    A feature choice and its processors come with what their views recorded; the others with the segments whose rows
    they hold.
    """
    return (
        *(artefact for era in fitted.eras for artefact in era.learned),
        *_similarities(fitted),
        *_proxies(fitted),
        *_inner_problems(fitted),
        *_weight_model(fitted),
    )


def _similarities(fitted: FittedDDGDA) -> Iterator[Artefact]:
    used = [(f"similarity of meta-task {t.index}", t.decision, t.train.stop) for t in _used(fitted)]
    used += [(f"similarity of window {w.index}", w.decision, w.learn_stop) for w in fitted.windows]
    for name, decision, stop in used:
        known = fitted.known(decision, stop)
        newest = known.start + known.values.shape[0] - 1
        yield Artefact(name, decision, Reads(newest, newest + known.look_ahead))


def _proxies(fitted: FittedDDGDA) -> Iterator[Artefact]:
    """Yield every block's proxy, against the first time from its block on at which it is judged."""
    last = fitted.windows[-1]
    known = fitted.known(last.decision, last.learn_stop)
    for block, judged in enumerate(_first_judged(known)):
        newest = int(known.block_starts[block]) + known.step - 1
        if judged >= 0:
            yield Artefact(f"proxy of block {block}", judged, Reads(newest, newest + known.look_ahead))


def _first_judged(known: KnownSimilarity) -> list[int]:
    """Return per block the first position from its start on that is not masked; −1 where there is none."""
    rows = np.arange(known.values.shape[0])[:, None]
    free = ~overlap(known) & (rows >= (known.block_starts - known.start)[None, :])
    return [int(known.start + free[:, k].argmax()) if free[:, k].any() else -1 for k in range(free.shape[1])]


def _inner_problems(fitted: FittedDDGDA) -> Iterator[Artefact]:
    ahead = fitted.eras[0].similarity.look_ahead
    for task in _used(fitted):
        reads = Reads(task.train.last, task.train.last + ahead)
        yield Artefact(f"inner problem of meta-task {task.index}", task.decision, reads)


def _weight_model(fitted: FittedDDGDA) -> Iterator[Artefact]:
    ahead = fitted.eras[0].similarity.look_ahead
    trained = [task.test.last for task in fitted.tasks if task.phase is Phase.META_TRAIN]
    if trained:
        yield Artefact("weight model", fitted.windows[0].decision, Reads(max(trained), max(trained) + ahead))


def _used(fitted: FittedDDGDA) -> list[MetaTask]:
    return [task for task in fitted.tasks if task.phase in (Phase.META_TRAIN, Phase.META_TEST)]

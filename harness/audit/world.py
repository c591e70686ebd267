"""Another world, computed by an interpreter that has seen no other data, see `harness.audit.fresh.FreshProcess`.

Reads the name of a world's folder per line, and answers each with a line when the outcome stands in that folder.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.audit.batches import dividing
from harness.audit.orders import orders, recording
from harness.audit.replay import adapted, predicted
from harness.audit.splice import Future, computed, joined, past_of, read_past
from harness.audit.watch import Watch
from harness.config.instantiate import locate
from harness.config.records import rebuild
from harness.data.panel import Panel
from harness.errors import DataError
from harness.evaluation.predictions import Predictions
from harness.run import pipeline as stages
from harness.run import rolling
from harness.run.forecasts import forecasts
from harness.run.pipeline import Pipeline
from harness.run.rolling import Recipe, WalkForward
from harness.samples.table import SampleTable
from harness.store.codec import load, save

Record = dict[str, Any]


@dataclass(frozen=True)
class World:
    """One world: a configuration whose raw data are others, or whose labels are, and what is asked of it.

    Attributes:
        folder: Where its panels lie and its outcome goes.
        config: The plain data of the configuration.
        cut: The calendar position after which the data are others; None: nowhere.
        windows: Which windows are predicted, each alone; empty: the whole run.
        past: A folder with the features of the times up to the cut, see `harness.audit.splice`.
        labels: Signs and seeds, of one more world each, see `relabelled`. Empty: the labels as they are.
        judged: A folder with predictions that are judged on the world's panel; nothing else is asked then.
    """

    folder: str
    config: Record
    cut: int | None = None
    windows: tuple[int, ...] = ()
    past: str | None = None
    labels: tuple[tuple[int, int], ...] = ()
    judged: str | None = None

    def outcome(self, future: Future | None = None) -> Record:
        """Compute it, and return what else there is to say than its files; `future`: what worlds before it share."""
        config = rebuild(json.dumps(self.config))
        pipeline, future = Pipeline(config, panel=config.data.load()), future or Future()
        if self.judged is not None:
            predictions = load(Path(self.judged), Predictions, WHOLE)
            evaluation, _ = pipeline._judge(predictions, pipeline.keeps_label_unit)
            save(Path(self.folder), dict(evaluation.series), SERIES)
            return {}
        return self._windows(pipeline, future) if self.windows else self._whole(pipeline, future)

    def _whole(self, pipeline: Pipeline, future: Future) -> Record:
        config, found = pipeline.config, list[tuple[int, str]]()
        # Straight from the panel: a store would ask what code it is that makes it.
        table = computed(config, pipeline.panel, Path(self.folder))
        if self.cut is not None:
            future.past = past_of(pipeline.panel, table, self.cut + 1)
        recipe = Recipe(config.preprocess, adapted(config, pipeline.windows, table), config.model, config.windows.step)
        predict = forecasts if self.cut is None else dividing(forecasts, found)
        predictions = WalkForward(table, pipeline.windows, recipe, predict=predict).run().predictions
        save(Path(self.folder), predictions, WHOLE)
        criteria, recorded = recording(config.evaluation)
        pipeline.config = replace(config, evaluation=criteria)
        evaluation, metrics = pipeline._judge(predictions, pipeline.keeps_label_unit)
        save(Path(self.folder), dict(evaluation.series), SERIES)
        if self.cut is not None and recorded is not None:
            save(Path(self.folder), orders(recorded, pipeline.panel, self.cut + 1), ORDERS)
        return {"per_window": metrics["per_window"], "batches": found}

    def _windows(self, pipeline: Pipeline, future: Future) -> Record:
        config, table = pipeline.config, self._table(pipeline, future)
        for number, (sign, seed) in enumerate(self.labels or ((1, 0),)):
            shown = replace(table, label=relabelled(table.label, sign, seed))
            adaptation = adapted(config, pipeline.windows, shown)
            recipe = Recipe(config.preprocess, adaptation, config.model, config.windows.step)
            made = predicted(recipe, pipeline.windows, shown, self.windows)
            for at, predictions in zip(self.windows, made, strict=True):
                save(Path(self.folder), predictions, window_name(at, number))
        return {}

    def _table(self, pipeline: Pipeline, future: Future) -> SampleTable:
        """Return the table of the world's panel, with features that are proved where there are some."""
        config, panel, found = pipeline.config, pipeline.panel, None
        if self.past is not None:
            found = joined(config, panel, read_past(Path(self.past)), future)
        elif future.past is not None and self.cut is not None and self.cut >= future.past.stop:
            found = joined(config, panel, future.past, Future())
        return found or computed(config, panel, Path(self.folder))


def relabelled(label: npt.NDArray[np.float32], sign: int, seed: int) -> npt.NDArray[np.float32]:
    """Return (n,) labels times a sign; permuted among all rows that have one by a seed other than 0."""
    if seed:
        known, permuted = np.flatnonzero(~np.isnan(label)), np.array(label)
        permuted[known] = label[np.random.default_rng(seed).permutation(known)]
        label = permuted
    return label if sign > 0 else -label


def window_name(window: int, number: int = 0) -> str:
    """Return the name of the predictions of one window in the world of a number."""
    return f"{WINDOW}{window}" + (f"-{number}" if number else "")


WHOLE, WINDOW, SERIES, ORDERS, OUTCOME = "whole", "window-", "series", "orders", "outcome.json"


def _guarded(names: list[str], watch: Watch) -> None:
    """Have nobody load the real data: a world is given others in their place."""
    for name in names:
        cls: Any = locate(name, "data")

        def load(self: object, name: str = name) -> Panel:
            watch.tell(f"the real data, through {name}")
            raise DataError("The code under audit loads the real data beside the panel that it is given.", where=name)

        cls.load = load


def answer_worlds(home: Path, setup: Record, unheld: str) -> None:
    """Answer one world after the other until there is no more; `unheld` says why no sandbox holds this process."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what code under audit prints is no answer
    watch = Watch([home, *map(Path, setup["declared"])], home / "heard")
    watch.begin()
    # What this process makes nobody finds again, so that nobody asks what code has made it.
    for module in (stages, rolling):
        vars(module)["code_digest"] = lambda *names: ""
    _guarded(setup["real"], watch)
    answers.write(json.dumps(unheld) + "\n")
    answers.flush()
    future = Future()
    for line in sys.stdin:
        folder = Path(json.loads(line))
        given = json.loads((folder / "world.json").read_text(encoding="utf-8"))
        labels = tuple((sign, seed) for sign, seed in given["labels"])
        world = World(**{**given, "windows": tuple(given["windows"]), "labels": labels})
        text = json.dumps({**_answer(partial(world.outcome, future), watch, not unheld), "opened": watch.heard()})
        (folder / OUTCOME).write_text(text, encoding="utf-8", newline="\n")
        answers.write("\n")
        answers.flush()


def _answer(ask: Callable[[], Record], watch: Watch, is_held: bool) -> Record:
    try:
        return ask()
    except Exception as error:  # code under audit may raise anything on data that it did not expect
        said = str(error).splitlines()
        text = f"{type(error).__name__}: {said[0] if said else ''}"
        if is_held and _was_refused(error):
            watch.tell(f"what the sandbox refuses: {text}")
        return {"error": text}


def _was_refused(error: BaseException | None) -> bool:
    """Whether an error comes from a file that may not be opened, whoever has wrapped it since."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EACCES:
            return True
        error = error.__cause__ or error.__context__
    return False

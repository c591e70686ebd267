"""One window of a walk-forward run: process, weight, fit, predict; each found in the store by what determines it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.config.contracts import check_object, traits_of
from harness.errors import DataError
from harness.execution.progress import Observer
from harness.execution.threads import thread_limit
from harness.samples.gram import GramBlocks, Period
from harness.samples.interfaces import (
    FittedAdaptation,
    FittedModel,
    FittedPreprocess,
    LearnSet,
    Model,
    ModelTraits,
    Preprocess,
    TimeWeights,
)
from harness.samples.preprocess import apply
from harness.samples.table import Reads, SampleTable
from harness.samples.windows import Segment, Window
from harness.store.artifacts import ArtifactStore, Key, Shelf, canonical_json, key_of
from harness.store.fingerprint import fingerprint_arrays
from harness.store.records import describe

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """What is done in every window.

    Attributes:
        preprocess, model: The configured objects.
        adaptation: What the adaptation has learned.
        step: Times per test segment, also the length of the shared Gram blocks.
    """

    preprocess: Preprocess
    adaptation: FittedAdaptation
    model: Model
    step: int


@dataclass(frozen=True)
class Cache:
    """Where finished windows are kept, so that a killed run resumes at the unfinished one.

    Attributes:
        store: The artifact store.
        table: Digest that identifies the raw sample table.
        code: Digest of the code that fits and predicts.
        processing: Digest of the code that processes.
        shelf: Holds processed tables and Gram blocks in memory for the next experiment.
        shared: Keep them in the store too, for other processes: worth their space only when there are any.
    """

    store: ArtifactStore
    table: str
    code: str
    processing: str = ""
    shelf: Shelf = field(default_factory=Shelf)
    shared: bool = False


@dataclass(frozen=True)
class WindowReads:
    """The newest data that one window's fitting read, against its decision: the static audit's raw material."""

    window: int
    decision: int
    preprocess: Reads
    model: Reads
    early_stopping: Reads


@dataclass(frozen=True, eq=False)
class Scored:
    """The predictions of one window.

    Attributes:
        score: (m,) float32, one per row of the test segment.
        reads: What was read to make them.
        made: False when they were found in the store.
    """

    score: Floats
    reads: WindowReads
    made: bool


@dataclass(frozen=True, eq=False)
class _Processed:
    """A processed table, what fitting the processors read, and the key of both."""

    table: SampleTable
    reads: Reads
    key: Key


def learning_segments(window: Window, model: Model) -> tuple[Segment, Segment | None]:
    """Return the segments that a model trains on and stops early on.

    A model that needs no validation takes the valid segment into training, so as not to waste the newest past, unless
    its `include_valid` or, where it does not say, the window's is false.
    """
    if model.needs_valid:
        return window.train, window.valid
    said = traits_of(model, ModelTraits).include_valid
    return (window.whole_past if (window.include_valid if said is None else said) else window.train), None


class WindowStage:
    """Fits and predicts single windows; what they share is made once.

    Args:
        table: Raw features and label; fitting code sees it through as-of views only.
        windows, weights: The walk-forward schedule, and the time weights of every window.
        recipe: What is done.
        cache: Reuse finished windows; None keeps nothing.
        observer: Told about progress.
    """

    def __init__(
        self,
        table: SampleTable,
        windows: tuple[Window, ...],
        weights: tuple[TimeWeights | None, ...],
        recipe: Recipe,
        cache: Cache | None,
        observer: Observer,
    ) -> None:
        self.table = table
        self.windows = windows
        self.weights = weights
        self.recipe = recipe
        self.cache = cache
        self.observer = observer
        self._once: tuple[_Processed, GramBlocks] | None = None

    @property
    def refits(self) -> bool:
        """Whether processors are fitted anew in every window."""
        return self.recipe.preprocess.refit == "per_window"

    def score(self, at: int) -> Scored:
        """Return the predictions of window number `at`, from the store where it has them."""
        if self.cache is None:
            score, reads = self._fit_and_predict(at, None)
            return Scored(score, reads, made=True)
        made: list[WindowReads] = []

        def make(folder: Path) -> None:
            def keep(name: str) -> Path:
                (folder / name).mkdir()
                return folder / name

            score, reads = self._fit_and_predict(at, keep)
            np.save(folder / "score.npy", score, allow_pickle=False)
            (folder / "reads.json").write_text(canonical_json(asdict(reads)), encoding="utf-8", newline="\n")
            made.append(reads)

        found = self.cache.store.get_or_make(self.key(at), make)
        score = np.load(found / "score.npy", allow_pickle=False)
        return Scored(score, _read_reads(found / "reads.json"), bool(made))

    def key(self, at: int) -> Key:
        """Return the key of window number `at`; there must be a cache."""
        assert self.cache is not None
        window, weights = self.windows[at], self.weights[at]
        train, valid = learning_segments(window, self.recipe.model)
        fitted_on = None if self.refits else learning_segments(self.windows[0], self.recipe.model)[0]
        return key_of(
            "window",
            table=self.cache.table,
            code=self.cache.code,
            preprocess=describe(self.recipe.preprocess),
            processors_fitted_on=_positions(fitted_on),
            model=describe(self.recipe.model),
            train=_positions(train),
            valid=_positions(valid),
            test=_positions(window.test),
            step=self.recipe.step,
            weights=None
            if weights is None
            else fingerprint_arrays({"starts": weights.starts, "values": weights.values}),
        )

    def _fit_and_predict(self, at: int, keep: Callable[[str], Path] | None) -> tuple[Floats, WindowReads]:
        """Fit on what is known at the window's decision and predict its test segment."""
        window, weights = self.windows[at], self.weights[at]
        table, blocks, preprocess_reads = self._processed(window)
        view, valid_view = table.as_of(window.decision), table.as_of(window.decision)
        train, valid = learning_segments(window, self.recipe.model)
        tested = table.features[table.index.rows(window.test.start, window.test.stop)]
        with _in_window(window), thread_limit(traits_of(self.recipe.model, ModelTraits).threads):
            fitted = self.recipe.model.fit(
                LearnSet(view, train, weights, blocks),
                None if valid is None else LearnSet(valid_view, valid, weights),
            )
            check_object(fitted, FittedModel, "model.fit")
            score = _scores(fitted.predict(tested), len(tested), f"{_class_of(fitted)}.predict, window {window.index}")
        if keep is not None:
            fitted.save(keep("model"))
        reads = WindowReads(window.index, window.decision, preprocess_reads, view.reads, valid_view.reads)
        return score, reads

    def _processed(self, window: Window) -> tuple[SampleTable, GramBlocks | None, Reads]:
        """Return the processed rows of a window's learning and test periods, and what fitting the processors read."""
        if self.refits:
            fitted, reads = self._fit(window)
            period = self.table.restricted(window.train.start, window.test.stop)
            return apply(period, fitted), None, reads
        if self._once is None:
            processed = self._processed_once()
            self._once = processed, self._blocks(processed)
        found, blocks = self._once
        return found.table, blocks, found.reads

    def prepare(self) -> None:
        """Make what all windows share, so that several processes find it."""
        if not self.refits and self._once is None:
            self._processed(self.windows[0])

    @property
    def processed_key(self) -> Key:
        """The key of the table that all windows share when processors are fitted once."""
        train, _ = learning_segments(self.windows[0], self.recipe.model)
        return key_of(
            "processed",
            table="" if self.cache is None else self.cache.table,
            code="" if self.cache is None else self.cache.processing,
            preprocess=describe(self.recipe.preprocess),
            fitted_on=_positions(train),
            decision=self.windows[0].decision,
        )

    def _processed_once(self) -> _Processed:
        cache, key = self.cache, self.processed_key
        if cache is None:
            return self._process(key)
        if not cache.shared:
            return cache.shelf.get("processed", key.digest, lambda: self._process(key))
        return cache.shelf.get("processed", key.digest, lambda: self._process_shared(key, cache.store))

    def _process(self, key: Key) -> _Processed:
        fitted, reads = self._fit(self.windows[0])
        return _Processed(apply(self.table, fitted), reads, key)

    def _process_shared(self, key: Key, store: ArtifactStore) -> _Processed:
        """Process through the store; features that no processor touches stay those of the raw table."""

        def make(folder: Path) -> None:
            made = self._process(key)
            if made.table.features is not self.table.features:
                np.save(folder / "features.npy", made.table.features, allow_pickle=False)
            np.save(folder / "label.npy", made.table.label, allow_pickle=False)
            record = {"names": list(made.table.feature_names), "reads": asdict(made.reads)}
            (folder / "processed.json").write_text(canonical_json(record, indent=1), encoding="utf-8", newline="\n")

        folder = store.get_or_make(key, make)
        record = json.loads((folder / "processed.json").read_text(encoding="utf-8"))
        path = folder / "features.npy"
        features = np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else self.table.features
        label = np.load(folder / "label.npy", mmap_mode="r", allow_pickle=False)
        return _Processed(
            self.table.with_columns(features, tuple(record["names"]), label), Reads(**record["reads"]), key
        )

    def _blocks(self, processed: _Processed) -> GramBlocks:
        """Return the shared sums, cut where the windows' learning periods end, so that no window has a ragged end."""
        train, _ = learning_segments(self.windows[-1], self.recipe.model)
        table, step, cache = processed.table, self.recipe.step, self.cache

        def blocks(kept: Callable[[], Mapping[Period, Doubles]] | None) -> GramBlocks:
            offsets = table.index.offsets
            return GramBlocks(
                table.features, table.label, offsets, step=step, origin=train.stop, observer=self.observer, kept=kept
            )

        if cache is None:
            return blocks(None)
        digest = f"{processed.key.digest} {step} {train.stop}"
        if not cache.shared:
            return cache.shelf.get("gram", digest, lambda: blocks(None))
        plain = blocks(None)
        periods = self._periods(plain)
        key = key_of("gram", processed=processed.key.digest, code=cache.code, periods=[list(p) for p in periods])

        def load() -> Mapping[Period, Doubles]:
            def make(folder: Path) -> None:
                np.save(folder / "sums.npy", plain.sums(periods), allow_pickle=False)

            folder = cache.store.get_or_make(key, make)
            return dict(zip(periods, np.load(folder / "sums.npy", mmap_mode="r", allow_pickle=False), strict=True))

        return cache.shelf.get("gram", key.digest, lambda: blocks(load))

    def _periods(self, blocks: GramBlocks) -> list[Period]:
        """Return every period whose sums some window needs, in time order."""
        found: set[Period] = set()
        for window, weights in zip(self.windows, self.weights, strict=True):
            train, _ = learning_segments(window, self.recipe.model)
            per_time = None if weights is None else weights.at(train.start, train.stop)
            found |= set(blocks.periods(train.start, train.stop, per_time))
        return sorted(found)

    def _fit(self, window: Window) -> tuple[FittedPreprocess, Reads]:
        train, _ = learning_segments(window, self.recipe.model)
        view = self.table.as_of(window.decision)
        return self.recipe.preprocess.fit(view, train), view.reads


def _read_reads(path: Path) -> WindowReads:
    record = json.loads(path.read_text(encoding="utf-8"))
    parts = {part: Reads(**record[part]) for part in ("preprocess", "model", "early_stopping")}
    return WindowReads(**{**record, **parts})


def _positions(segment: Segment | None) -> list[int] | None:
    return None if segment is None else [segment.start, segment.stop]


@contextmanager
def _in_window(window: Window) -> Iterator[None]:
    """Let the traceback of a model that fails say in which window it did."""
    try:
        yield
    except Exception as error:  # somebody's own model may raise anything; it goes on as it is
        error.add_note(f"in window {window.index}, while the model was fitted or predicted")
        raise


def _class_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _scores(predicted: object, rows: int, where: str) -> Floats:
    """Return (n,) float32 what a model predicts, or refuse what is no forecast of each of the n rows.

    Raises:
        DataError: When it has another shape, is no number, or is infinite in float32; NaN is no forecast of a row, and
            allowed.
    """
    expected = f"({rows},) finite numbers, NaN for no forecast"
    given = np.asarray(predicted)
    try:
        real = np.asarray(given, dtype=np.float64) if given.dtype.kind in "biufO" else None
    except (TypeError, ValueError):
        real = None
    if real is None or real.shape != (rows,):
        what = "None" if predicted is None else f"{given.dtype} {given.shape}"
        raise DataError(
            "The model predicts something else than a number per row.", where=where, got=what, expected=expected
        )
    with np.errstate(over="ignore"):
        scores = np.ascontiguousarray(real, dtype=np.float32)
    if np.isinf(scores).any():
        raise DataError(
            "The model predicts infinite values.",
            where=where,
            got=f"{int(np.isinf(scores).sum())} of {rows}, the first at row {int(np.isinf(scores).argmax())}",
            expected=expected,
        )
    return scores

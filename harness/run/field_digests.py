"""What a panel shows before each position, as digests: of the fields that a table is made of, and of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from harness.data.panel import Panel
from harness.evaluation.predictions import Predictions
from harness.features.expression import fields_of, parse
from harness.features.feature_set import FeatureSet
from harness.samples.growth import chained_digests
from harness.samples.table import RowIndex
from harness.samples.windows import Window
from harness.snapshots.growth import DAY, WindowTrace
from harness.store.artifacts import MemoryCache, canonical_json

Digests = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FieldDigests:
    """The chained digests of a panel's fields, (T + 1,) each, see `harness.samples.growth`.

    Attributes:
        label: The label's expression.
        identity: What identifies panel and rows.
        memory: Keeps digests for other experiments of this process.
        by_index: Whether the panel's index is what is judged by; one that nothing reads may come late.
    """

    panel: Panel
    rows: RowIndex
    features: FeatureSet
    label: str
    identity: tuple[str, str]
    memory: MemoryCache
    by_index: bool = True

    @cached_property
    def of_features(self) -> Digests:
        return self._of({*fields_of(*self.features.parsed()), self.panel.price_field})

    @cached_property
    def used(self) -> Digests:
        """Those of the fields that rows, features and label read."""
        return self._of(self._read)

    @cached_property
    def rest(self) -> Future[Digests]:
        """Those of all other fields and the index, in a thread: they are wanted when windows have been fitted."""
        panel, others = self.panel, set(self.panel.fields) - self._read
        index = panel.benchmark if self.by_index else None
        series = {} if index is None else {index.name: index.close}
        pool = ThreadPoolExecutor(1, thread_name_prefix="digests")
        found = pool.submit(chained_digests, panel, self.rows, others, series)
        pool.shutdown(wait=False)
        return found

    def traces(self, predictions: Predictions, windows: Sequence[Window], look_ahead: int) -> list[WindowTrace]:
        """Return what each window stood on, so that a run on data that have grown can be held against this one."""
        used, rest = self.used, self.rest.result()
        known = int(np.flatnonzero(self.panel.traded.any(axis=1))[-1])
        return [
            WindowTrace(
                window=window.index,
                data=f"{used[window.test.stop]}{rest[window.test.stop]}",
                predictions=predictions.digest_of(window.test.start, window.test.stop),
                settled=window.test.last + look_ahead <= known,
                labels=predictions.labels_of(window.test.start, window.test.stop),
                complete=window.test.last <= known,
                days="".join(
                    f"{used[at + 1][: DAY // 2]}{rest[at + 1][: DAY // 2]}"
                    for at in range(window.test.start, min(window.test.stop, known + 1))
                ),
            )
            for window in windows
        ]

    @cached_property
    def _read(self) -> set[str]:
        return {*fields_of(*self.features.parsed(), parse(self.label)), self.panel.price_field}

    def _of(self, fields: set[str]) -> Digests:
        text = canonical_json([*self.identity, fields])
        return self.memory.get("digests", text, partial(chained_digests, self.panel, self.rows, fields))

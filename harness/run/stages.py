"""The stages up to the sample table: panel, rows, features, label; each found in the store by what determines it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config import ExperimentConfig
from harness.data.panel import Panel, load_panel, save_panel
from harness.data.source import Source
from harness.errors import DataError
from harness.execution.progress import Observer, telling
from harness.features.engine import check_fields, compute_expression, compute_features
from harness.features.parser import parse
from harness.samples.table import RowIndex, SampleTable, index_rows
from harness.snapshots.provenance import Stopwatch
from harness.store.artifacts import ArtifactStore, Key, key_of
from harness.store.code_digest import code_digest
from harness.store.records import describe, modules_of


def panel_key_of(source: Source) -> Key:
    """Return what identifies a source's panel: how it is read, the content of its files, and the code that reads it."""
    return key_of("panel", source=describe(source), inputs=source.inputs(), code=code_digest(*modules_of(source)))


@dataclass(frozen=True)
class TableKey:
    """What identifies a raw sample table: the keys of its features and of its label."""

    features: Key
    label: Key

    @property
    def both(self) -> tuple[Key, Key]:
        """The two keys."""
        return self.features, self.label

    @property
    def digest(self) -> str:
        """Both digests as one text."""
        return f"{self.features.digest}-{self.label.digest}"


class Stages:
    """Computes each stage of one configuration at most once, through the store.

    Args:
        config: The experiment.
        store: Where stages are kept.
        watch: Told the seconds of each stage.
        observer: Told about progress.
        panel_key: The panel's, where another process has looked at the source already; without it the source is asked.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        store: ArtifactStore,
        watch: Stopwatch,
        observer: Observer,
        panel_key: Key | None = None,
    ) -> None:
        self._panel_key = panel_key
        self.config = config
        self.store = store
        self.watch = watch
        self.observer = observer
        # Once per run: a source file that is edited while a run goes on must not split it over two keys.
        self._table_keys: dict[str, TableKey] = {}

    def panel(self) -> Panel:
        """Return the panel, memory-mapped from the store."""
        source = self.config.data
        with self.watch.stage("panel"), telling(self.observer, "panel"):
            found = self.store.get_or_make(self.panel_key(), lambda folder: save_panel(source.load(), folder))
            return load_panel(found)

    def panel_key(self) -> Key:
        """Return what identifies the panel: the source, the content of its files, and the code that reads them."""
        if self._panel_key is None:
            self._panel_key = panel_key_of(self.config.data)
        return self._panel_key

    def table_key(self, panel: Panel) -> TableKey:
        """Return what identifies the raw sample table of `panel`, without computing it."""
        if panel.fingerprint not in self._table_keys:
            self._table_keys[panel.fingerprint] = self._table_key(panel)
        return self._table_keys[panel.fingerprint]

    def _table_key(self, panel: Panel) -> TableKey:
        features = self.config.features.feature_set()
        shared = {
            "panel": panel.fingerprint,
            "rows": self.config.samples.rows,
            "code": code_digest("harness.features.engine", "harness.samples.table"),
        }
        return TableKey(
            features=key_of(
                "features",
                **shared,
                names=list(features.names),
                expressions=list(features.expressions),
            ),
            label=key_of("label", **shared, expression=self.config.label.expression_text),
        )

    def table(self, panel: Panel) -> SampleTable:
        """Return the raw sample table; the feature matrix is memory-mapped from the store.

        Raises:
            DataError: When no row has features or no row has a label, or an expression of one's own reads a field that
                is not there.
        """
        keys = self.table_key(panel)
        # Before the store is asked: a preset may have left the same features there, without those that it dropped.
        label_expression = parse(self.config.label.expression_text)
        check_fields(panel, {"label": label_expression, **self.config.features.feature_set().asked_for()})
        with self.watch.stage("features"), telling(self.observer, "table"):
            features = self.store.get_or_make(keys.features, lambda folder: self._make_features(panel, folder))
        with self.watch.stage("label"), telling(self.observer, "label"):
            label = self.store.get_or_make(keys.label, lambda folder: self._make_label(panel, folder))
        table = SampleTable(
            calendar=panel.calendar,
            instruments=panel.instruments,
            index=RowIndex(_read(features, "offsets"), _read(features, "codes")),
            features=_read(features, "features"),
            feature_names=tuple(_feature_record(features)["names"]),
            label=_read(label, "label"),
            look_ahead=self.config.label.look_ahead,
        )
        self._check(table)
        return table

    def feature_names(self, panel: Panel) -> list[str]:
        """Return the names of the features that are used, once they are computed."""
        return list(_feature_record(self.store.path(self.table_key(panel).features))["names"])

    def dropped_features(self, panel: Panel) -> list[str]:
        """Return the names of the features that are missing in every row, once the features are computed."""
        return list(_feature_record(self.store.path(self.table_key(panel).features))["dropped"])

    def _make_features(self, panel: Panel, folder: Path) -> None:
        rows = self._rows(panel)
        matrix = compute_features(
            panel, self.config.features.feature_set(), rows.offsets, rows.codes, observer=self.observer
        )
        np.save(folder / "features.npy", matrix.values, allow_pickle=False)
        np.save(folder / "offsets.npy", rows.offsets, allow_pickle=False)
        np.save(folder / "codes.npy", rows.codes, allow_pickle=False)
        record = {"names": list(matrix.names), "dropped": list(matrix.dropped)}
        (folder / "features.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8", newline="\n")

    def _make_label(self, panel: Panel, folder: Path) -> None:
        rows = self._rows(panel)
        values = compute_expression(panel, self.config.label.expression_text)  # (T, N)
        label = values[rows.times(0, len(panel.calendar)), rows.codes]
        np.save(folder / "label.npy", np.where(np.isfinite(label), label, np.float32(np.nan)), allow_pickle=False)

    def _rows(self, panel: Panel) -> RowIndex:
        return index_rows(panel, listed=self.config.samples.rows == "listed")

    def _check(self, table: SampleTable) -> None:
        if len(table) == 0:
            raise DataError(
                "The panel has no rows: nobody in the universe has a price.",
                where="data",
                hint="`bench data info` shows the membership and the dates of the panel",
            )
        if not table.feature_names:
            raise DataError("Every feature is missing in every row.", where="features")
        if np.isnan(table.label).all():
            raise DataError(
                "No row has a label.",
                where="label",
                got=self.config.label.expression_text,
                hint="the calendar may be shorter than the label's look-ahead",
            )


def _read(folder: Path, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return values


def _feature_record(folder: Path) -> dict[str, list[str]]:
    record: dict[str, list[str]] = json.loads((folder / "features.json").read_text(encoding="utf-8"))
    return record

"""Reference results: published tables as data, in the files of ``reference/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.tolerances import read_yaml, record_from
from harness.errors import ConfigError, closest
from harness.evaluation.metrics import METRICS
from harness.store.files import config_folder, search_folder

Scalar = str | int | float | bool


@dataclass(frozen=True)
class ReferenceRow:
    """A published row.

    Attributes:
        name: As published.
        where: Dotted key of a snapshot's identity → value; the row stands beside every run in which all agree.
        values: Metric → published value.
    """

    name: str
    where: dict[str, Scalar]
    values: dict[str, float]


@dataclass(frozen=True)
class Claim:
    """That one published row is better than another, by every metric named.

    Attributes:
        better, than: Names of rows.
        metrics: The published values of `better` must be the better ones by each.
    """

    better: str
    than: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class ReferenceResults:
    """A published table.

    Attributes:
        source: What it stands in.
        url: Where that is.
        date: When it was published, as text.
        data: The data snapshot that it was made on.
        scenario: What was forecast, in words.
        differences: What differs from our runs, for readers.
        where: What all rows ask for, as `ReferenceRow.where`.
        rows: The table.
        claims: What the source says of its rows.
        not_comparable: Why its values cannot be held against ours, where they cannot; its claims still can.
    """

    source: str
    url: str
    date: str
    data: str
    scenario: str
    differences: str
    where: dict[str, Scalar]
    rows: tuple[ReferenceRow, ...]
    claims: tuple[Claim, ...] = ()
    not_comparable: str | None = None

    def row(self, name: str) -> ReferenceRow:
        """Return a row by its name."""
        return next(row for row in self.rows if row.name == name)


def reference_results(search_path: Sequence[str | Path] = ()) -> tuple[ReferenceResults, ...]:
    """Return every published table in the ``reference/`` folders, sorted by the names of their files.

    A file in the search path takes the place of ours of the same name.

    Raises:
        ConfigError: When a folder does not exist, a file is no table, a metric is unknown, or a claim names no row or
            contradicts its values.
    """
    folders = [config_folder(), *(search_folder(Path(folder)) for folder in reversed(search_path))]
    files = {path.stem: path for folder in folders for path in (folder / "reference").glob("*.yaml")}
    return tuple(_read(files[name]) for name in sorted(files))


def _read(path: Path) -> ReferenceResults:
    found = record_from(ReferenceResults, read_yaml(path, "reference"), str(path))
    for at, row in enumerate(found.rows):
        for metric in row.values:
            _known(metric, METRICS, f"{path}: rows.{at}.values", "metric")
    rows = {row.name: row.values for row in found.rows}
    for at, claim in enumerate(found.claims):
        where = f"{path}: claims.{at}"
        sides = [rows[_known(name, rows, where, "row")] for name in (claim.better, claim.than)]
        for metric in claim.metrics:
            better, than = (side[_known(metric, side, where, "published value")] for side in sides)
            if published_difference(metric, better, than) <= 0:
                what, got = "The published values say otherwise.", f"{metric}: {better} against {than}"
                raise ConfigError(what, where=where, got=got, expected="a claim that its own table supports")
    return found


def published_difference(metric: str, better: float, than: float) -> float:
    """Return how much better the first value is; negative where it is worse."""
    return (than - better) if METRICS[metric].direction == "lower" else (better - than)


def _known(name: str, names: Mapping[str, object], where: str, what: str) -> str:
    if name not in names:
        hint, known = closest(name, names), ", ".join(names)
        raise ConfigError(f"There is no such {what}.", where=where, got=name, expected=known, hint=hint)
    return name

"""What the commands and the pytest plugin hold snapshots to: suites and tolerances by name, baselines, evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import config_folder
from harness.config.tolerances import Tolerances, load_tolerances, parse_tolerances
from harness.evaluation.metric_records import METRIC_DIRECTIONS
from harness.snapshots.baseline import Baselines
from harness.snapshots.compare import Direction
from harness.snapshots.evidence import Evidence
from harness.snapshots.suite import Standard, Suite, load_suite
from harness.store.artifacts import ArtifactStore

Folders = Sequence[str | Path]


def standard_of(
    results: Path,
    tolerances: Tolerances | Mapping[str, Any] | Path | str,
    *,
    directions: Mapping[str, Direction] | None = None,
    store: Path | None = None,
    search_path: Folders = (),
) -> Standard:
    """Return what snapshots are held to.

    Parameters
    ----------
    results
        The folder of the baselines.
    tolerances
        Name of a file in ``regression/``, a path, the content of such a file, or `Tolerances`.
    directions
        Which way a metric of one's own is better, beside those of the harness.
    store
        The artifact store in which series and panels are looked up; None looks nothing up.
    search_path
        Folders with further ``regression/`` files.

    Raises
    ------
    ConfigError
        When there are no such tolerances or they hold a mistake.
    """
    if isinstance(tolerances, str):
        tolerances = named_tolerances(tolerances, search_path)
    elif isinstance(tolerances, Path):
        tolerances = load_tolerances(tolerances)
    elif isinstance(tolerances, Mapping):
        tolerances = parse_tolerances(tolerances)
    known = {**METRIC_DIRECTIONS, **(directions or {})}
    if store is None:
        return Standard(Baselines(results), tolerances, known)
    evidence = Evidence(ArtifactStore(store))
    return Standard(Baselines(results), tolerances, known, evidence.difference_test, evidence.data_difference)


def named_suite(name: str, search_path: Folders = ()) -> Suite:
    """Return a suite by the name of its file in ``suites/``, or by a path that ends in ``.yaml``.

    Raises
    ------
    ConfigError
        When there is no such suite or it holds a mistake.
    """
    return load_suite(_file("suites", name, search_path))


def named_tolerances(name: str, search_path: Folders = ()) -> Tolerances:
    """Return tolerances by the name of their file in ``regression/``, or by a path that ends in ``.yaml``."""
    return load_tolerances(_file("regression", name, search_path))


def suite_names(search_path: Folders = ()) -> tuple[str, ...]:
    """Return the names of all suites, those of the search path included."""
    return tuple(sorted({path.stem for folder in _folders("suites", search_path) for path in folder.glob("*.yaml")}))


def _file(kind: str, name: str, search_path: Folders) -> Path:
    if name.endswith(".yaml"):
        return Path(name)
    *others, own = (folder / f"{name}.yaml" for folder in _folders(kind, search_path))
    return next((path for path in others if path.is_file()), own)


def _folders(kind: str, search_path: Folders) -> Iterator[Path]:
    for folder in (*search_path, config_folder()):
        yield Path(folder) / kind

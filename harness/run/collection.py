"""Finished runs put together: found by their configuration, merged in time, averaged; what comes of it is judged.

What qlib does with ``RecorderCollector`` (`select`), ``RollingGroup`` and ``RollingEnsemble`` (`merged`), and
``AverageEnsemble`` (`averaged`). `publish` makes a run of it that reports, comparisons and baselines take like any
other.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.config import compose_config
from harness.errors import DataError, closest
from harness.errors.redaction import without_secrets
from harness.evaluation.collection import Scale, average, merge_windows
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Observer, telling
from harness.run.finished import SNAPSHOT, FinishedRun, flatten
from harness.run.pipeline import METRICS, PROVENANCE, Pipeline, settings_of
from harness.snapshots.snapshot import Snapshot, sha256, write_snapshot
from harness.store.artifacts import canonical_json, key_of
from harness.store.code_digest import code_digest
from harness.store.files import write_atomically
from harness.store.records import TARGET

_SHOWN = 8  # keys that a message names


def settings(run: FinishedRun) -> dict[str, tuple[str, ...]]:
    """Return dotted key → the texts that its value answers to.

    Keys are those of the configuration, ``suite``, ``case``, ``look_ahead`` and ``data``; a group answers to the name
    of its class, and whatever the run's command has said to what was typed.
    """
    snapshot, found = run.snapshot, dict[str, tuple[str, ...]]()
    plain = {"suite": snapshot.suite, "case": snapshot.case, "look_ahead": run.look_ahead}
    plain |= {"data": snapshot.identity["data"]["name"]}
    for key, value in {**flatten(run.config), **plain}.items():
        found[key] = (_text(value),)
        group, _, last = key.rpartition(".")
        if last == TARGET and isinstance(value, str):
            found[group] = (value.rpartition(".")[2],)
    typed = (str(text).partition("=") for text in snapshot.provenance.get("command", ()))
    for key, sign, value in typed:
        if sign and not key.startswith("-"):
            found[key.lstrip("+")] = (*found.get(key.lstrip("+"), ()), value.strip("'\""))
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def select(runs: Sequence[FinishedRun], conditions: Sequence[str]) -> tuple[FinishedRun, ...]:
    """Return the runs that meet every condition, ``KEY=VALUE`` or ``KEY=VALUE,VALUE``: one of these.

    Numbers are compared as numbers, other values without regard to capitals and ``_``.

    Raises:
        DataError: When a condition is none, or no run meets it; with what the runs have.
    """
    for condition in conditions:
        key, sign, values = condition.partition("=")
        if not sign or not key or not values:
            raise DataError("This is no condition.", where="--where", got=condition, expected="KEY=VALUE, or KEY=A,B")
        known = [settings(run) for run in runs]
        wanted = {_plain(value) for value in values.split(",")}
        met = [run for run, own in zip(runs, known, strict=True) if wanted & set(map(_plain, own.get(key, ())))]
        if not met:
            there = list(dict.fromkeys(text for own in known for text in own.get(key, ())))
            what = "No run meets the condition." if there else f"No run has the key `{key}`."
            expected = ", ".join(there) if there else "a key of the configuration, suite, case, look_ahead or data"
            hint = None if there else closest(key, sorted(set().union(*known)))
            raise DataError(what, where="--where", got=condition, expected=expected, hint=hint)
        runs = met
    return tuple(runs)


def _plain(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text.strip().lower().replace("_", "")


@dataclass(frozen=True, eq=False)
class Collection:
    """Runs to be put together, in the order of their digests, and how: by their windows, or by a scale of `average`."""

    members: tuple[FinishedRun, ...]
    how: Scale | Literal["windows"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(sorted(self.members, key=lambda run: run.snapshot.digest)))

    def predictions(self) -> Predictions:
        parts = [_predictions(member) for member in self.members]
        return merge_windows(parts) if self.how == "windows" else average(parts, scale=self.how)

    @property
    def identity(self) -> dict[str, Any]:
        """Return what determines the result: the members, and beside them what all have in common."""
        first, identities = self.members[0].snapshot.identity, [run.snapshot.identity for run in self.members]
        members = [{"case": run.snapshot.case, "digest": run.snapshot.digest} for run in self.members]
        windows = {canonical_json(window): window for identity in identities for window in identity["windows"]}
        return {
            **{name: first[name] for name in ("data", "look_ahead", "year")},
            **{name: _shared([identity[name] for identity in identities]) for name in ("config", "features")},
            "windows": sorted(windows.values(), key=lambda window: (window["test"], canonical_json(window))),
            "collected": {"how": self.how, "members": members},
        }


def _shared(nodes: Sequence[Any]) -> Any:
    """Return what equal parts of configurations hold: of others the names of their classes, and ... for the rest."""
    if all(node == nodes[0] for node in nodes):
        return nodes[0]
    if not all(isinstance(node, Mapping) for node in nodes):
        return ...
    found = {key: _shared([node[key] for node in nodes]) for key in nodes[0] if all(key in node for node in nodes)}
    if found.get(TARGET) is ...:
        found[TARGET] = " + ".join(dict.fromkeys(str(node[TARGET]).rpartition(".")[2] for node in nodes))
    return {key: value for key, value in found.items() if value is not ...}


def merged(runs: Sequence[FinishedRun]) -> tuple[list[Collection], list[FinishedRun]]:
    """Return the runs that differ in nothing but their windows, put together, and those that stay alone.

    Raises:
        DataError: When no two runs belong together, or one cannot be used.
    """
    groups: dict[str, list[FinishedRun]] = {}
    for run in _usable(runs):
        groups.setdefault(canonical_json(_asked(run)), []).append(run)
    found = [Collection(tuple(group), "windows") for group in groups.values() if len(group) > 1]
    if not found:
        what, where = "No two of these runs differ in their windows alone.", ", ".join(str(run.folder) for run in runs)
        first, *others = (flatten(_asked(run)) for run in runs)
        apart = sorted(key for key in first if any(first[key] != other.get(key) for other in others))
        got = f"runs that differ in {', '.join(apart[:_SHOWN])}" if others else "one run"
        raise DataError(what, where=where, got=got, expected="runs of one configuration over several test ranges")
    return found, [group[0] for group in groups.values() if len(group) == 1]


def _asked(run: FinishedRun) -> dict[str, Any]:
    identity = run.snapshot.identity
    config = {name: part for name, part in run.config.items() if name != "windows"}
    return {"config": config, "data": identity["data"]["fingerprint"], "collected": identity.get("collected")}


def averaged(runs: Sequence[FinishedRun], scale: Scale) -> Collection:
    """Return the runs as an ensemble.

    Raises:
        DataError: When there is one only, their numbers do not answer the same question, or one cannot be used.
    """
    members = _usable(runs)
    first = members[0]
    if len(members) < 2:
        raise DataError("An ensemble has at least two members.", where=str(first.folder), got="one run")
    for other in members[1:]:
        reasons = [first.why_not_comparable(other)]
        reasons += ["another evaluation"] if first.config["evaluation"] != other.config["evaluation"] else []
        if any(reasons):
            what, got = "These runs cannot be averaged.", "; ".join(filter(None, reasons))
            hint = "--where KEY=VALUE chooses among them; --merge puts runs together that differ in their windows"
            expected = f"runs that answer the same question as {first.folder}"
            raise DataError(what, where=str(other.folder), got=got, expected=expected, hint=hint)
    return Collection(members, scale)


def _usable(runs: Sequence[FinishedRun]) -> tuple[FinishedRun, ...]:
    """Return the runs, each once; refuse one in which an audit has found a leak."""
    found = {run.snapshot.digest: run for run in reversed(runs)}
    for run in found.values():
        if run.snapshot.leak is not None:
            hint = "leave it out with --where, or mend it and run it again"
            raise DataError("A run that leaks is no member.", where=str(run.folder), got=run.snapshot.leak, hint=hint)
    return tuple(reversed(found.values()))


def _predictions(run: FinishedRun) -> Predictions:
    found = run.predictions()
    if found.digest != (expected := run.snapshot.metrics["predictions"]):
        what, hint = "The predictions are not those of the snapshot.", "run it again"
        raise DataError(what, where=str(run.folder), got=found.digest, expected=expected, hint=hint)
    return found


def publish(made: Collection, case: str, command: Sequence[str], runs: Path, observer: Observer) -> FinishedRun:
    """Judge what was put together by the members' criteria, and leave a run of it under the folder `runs`.

    `command`: of this collection, for its provenance. The result also goes to the members' store.

    Raises:
        DataError: When the members' data or criteria are not to be had any more as they were.
    """
    identity, first = made.identity, made.members[0]
    pipeline, judged_as = _pipeline(first, observer)
    has_unit = "preprocess" in identity["config"] and identity["config"]["preprocess"] == first.config["preprocess"]
    same_unit = made.how in ("windows", "score") and has_unit and pipeline.keeps_label_unit

    def make(folder: Path) -> None:
        with telling(observer, "collect"):
            predictions = made.predictions()
        pipeline.save_judged(predictions, folder, same_unit=same_unit)
        pipeline.save_provenance(folder)

    key = key_of("result", collected=identity, same_unit=same_unit, code=code_digest("harness.run.collection"))
    folder = pipeline.cache.store.get_or_make(key, make)
    metrics, origin = (json.loads((folder / n).read_text(encoding="utf-8")) for n in (METRICS, PROVENANCE))
    origin |= {"program": "collect", "command": list(command), "judged_as": judged_as}
    snapshot = Snapshot(first.snapshot.suite, case, identity, metrics, origin)
    target = runs / f"{case}-{sha256(identity)[:12]}"
    for path in (*sorted(folder.glob("*.parquet")), folder / METRICS):
        write_atomically(target / path.name, path.read_bytes())
    write_snapshot(snapshot, target / SNAPSHOT)
    return FinishedRun.read(target)


def _pipeline(run: FinishedRun, observer: Observer) -> tuple[Pipeline, list[str]]:
    """Return the pipeline of a member's configuration as its command composes it now, and that command."""
    provenance, where = run.snapshot.provenance, str(run.folder)
    command = list(provenance.get("judged_as") or provenance.get("command") or ())
    folders = [command[at + 1] for at, text in enumerate(command) if text == "--config-dir"]
    overrides = command[2 * len(folders) :]
    config = compose_config(overrides, search_path=folders)
    pipeline = Pipeline(config, observer=observer)
    now = settings_of(config)
    apart = [name for name in ("evaluation", "label") if without_secrets(now[name]) != run.config[name]]
    if pipeline.panel.fingerprint != run.snapshot.identity["data"]["fingerprint"]:
        apart.append("data")
    if apart:
        what = f"What the runs are judged by is not what it was: {', '.join(apart)}."
        raise DataError(what, where=where, got=shlex.join(["bench", "run", *command]), hint="run the members again")
    return pipeline, command

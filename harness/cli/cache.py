"""`bench cache`: look after the artifact store."""

from __future__ import annotations

import math
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from rich.filesize import decimal

from harness.cli.composed import config_of
from harness.cli.declaration import Answer
from harness.config import ExperimentConfig
from harness.errors import ArtifactError, ConfigError
from harness.execution.progress import PlainObserver
from harness.report.table import numbers, table
from harness.run.job import abandoned
from harness.run.sweep import keys_of
from harness.store.care import Entry, check_unused, chosen, damaged, entries, leftovers, remove, remove_unused, summary
from harness.store.locks import in_use


def status(arguments: Namespace, observer: PlainObserver) -> Answer:
    root, found = _found(arguments, observer)
    lines = summary(found)
    rows = [
        (at.stage, f"{at.results:,}", decimal(at.size), f"{at.oldest:.1f} days", f"{at.newest:.1f} days")
        for at in lines
    ]
    rows.append(("all", f"{len(found):,}", _size(found), "", ""))
    shown = table(str(root), ("stage", *numbers("results", "size", "oldest", "newest")), rows)
    return Answer([shown], {"store": str(root), "stages": [asdict(line) for line in lines]})


def verify(arguments: Namespace, observer: PlainObserver) -> Answer:
    root, found = _found(arguments, observer)
    broken: list[Entry] = []
    observer.start("verify", len(found))
    for entry, is_damaged in damaged(found):
        broken += [entry] if is_damaged else []
        observer.advance("verify")
    observer.finish("verify")
    if arguments.remove:
        remove([entry.folder for entry in broken])
    shown = [f"{'removed' if arguments.remove else 'damaged'}  {entry.folder}" for entry in broken]
    shown.append(f"{len(found):,} results checked in {root}, {len(broken)} damaged")
    record = {"checked": len(found), "damaged": [f"{entry.stage}/{entry.digest}" for entry in broken]}
    return Answer(shown, record, int(bool(broken)))


def collect(arguments: Namespace, observer: PlainObserver) -> Answer:
    for name, value in (("--older-than", arguments.older_than), ("--keep-gb", arguments.keep_gb)):
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError("A limit is a number from 0 on.", where=name, got=value, expected="a number ≥ 0")
    root, found = _found(arguments, observer)
    keep = None if arguments.keep_gb is None else int(arguments.keep_gb * 1e9)
    limits = (arguments.older_than, keep, arguments.stage, arguments.overrides or None)
    meant = () if limits == (None,) * len(limits) else chosen(found, older_than=arguments.older_than, keep_bytes=keep)
    rests, used = (*leftovers(root, time.time()), *abandoned(Path(config_of(arguments).output.runs))), in_use(root)
    going = tuple(entry for entry in meant if (entry.stage, entry.digest) not in used)
    kept = len(meant) - len(going)
    if arguments.yes:
        going = remove_unused(root, going)
        remove(rests)
    what = f"{len(going):,} results ({_size(going)}) and {len(rests)} leftovers of killed runs in {root}"
    notes = [f"kept {kept:,} results that running processes use"] if kept else []
    return _removal(arguments, what, notes, going or rests)


def reset(arguments: Namespace, observer: PlainObserver) -> Answer:
    other = next((override for override in arguments.overrides if not override.startswith("output.")), None)
    if other is not None:
        what, hint = "A reset removes the whole store, not what one experiment uses.", f"bench cache gc {other} removes"
        where, expected = "bench cache reset", "no override, or output.store=FOLDER"
        raise ConfigError(what, where=where, got=other, expected=expected, hint=f"{hint} what that experiment uses")
    root = _root(config_of(arguments))
    found = entries(root)
    if arguments.yes:
        check_unused(root)
        remove([*(entry.folder for entry in found), *leftovers(root, math.inf)])
    return _removal(arguments, f"{len(found):,} results ({_size(found)}) in {root}", [], found)


def _removal(arguments: Namespace, what: str, notes: list[str], going: object) -> Answer:
    ask = [] if arguments.yes or not going else ["add --yes to do it"]
    return Answer([f"{'removed' if arguments.yes else 'would remove'} {what}", *notes, *ask])


def _found(arguments: Namespace, observer: PlainObserver) -> tuple[Path, tuple[Entry, ...]]:
    config = config_of(arguments)
    root = _root(config)
    found = entries(root, arguments.stage)
    # An override of the store alone says where to look, not which experiment.
    if all(override.startswith("output.") for override in arguments.overrides):
        return root, found
    return root, chosen(found, keys=keys_of(config, observer))


def _root(config: ExperimentConfig) -> Path:
    """Return the store's folder; one that is not there yet is empty."""
    root = Path(config.output.store)
    if root.exists() and not root.is_dir():
        raise ArtifactError("The store is no folder.", where="output.store", got=str(root), expected="a folder")
    return root


def _size(found: tuple[Entry, ...]) -> str:
    return decimal(sum(entry.size for entry in found))

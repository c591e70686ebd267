"""`bench cache`: look after the artifact store."""

from __future__ import annotations

import math
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from harness.cli.explain import config_of
from harness.cli.progress import progress
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.cli.terminal import show
from harness.config import ExperimentConfig
from harness.errors import ArtifactError, ConfigError
from harness.report.table import numbers, table
from harness.run.sweep import keys_of
from harness.store.care import Entry, check_unused, chosen, damaged, entries, leftovers, remove, remove_unused, summary
from harness.store.locks import in_use


def status(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    root, found = _found(arguments, err)
    lines = summary(found)
    if arguments.json:
        out.write_json({"store": str(root), "stages": [asdict(line) for line in lines]})
        return 0
    rows = [
        (at.stage, f"{at.results:,}", _bytes(at.size), f"{at.oldest:.1f} days", f"{at.newest:.1f} days") for at in lines
    ]
    rows.append(("all", f"{len(found):,}", _size(found), "", ""))
    show(out, table(str(root), ("stage", *numbers("results", "size", "oldest", "newest")), rows))
    return 0


def verify(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    root, found = _found(arguments, err)
    broken: list[Entry] = []
    with progress(err) as observer:
        observer.start("verify", len(found))
        for entry, is_damaged in damaged(found):
            broken += [entry] if is_damaged else []
            observer.advance("verify")
        observer.finish("verify")
    if arguments.remove:
        remove([entry.folder for entry in broken])
    if arguments.json:
        out.write_json({"checked": len(found), "damaged": [f"{entry.stage}/{entry.digest}" for entry in broken]})
    else:
        for entry in broken:
            out.write(f"{'removed' if arguments.remove else 'damaged'}  {entry.folder}")
        out.write(f"{len(found):,} results checked in {root}, {len(broken)} damaged")
    return 1 if broken else 0


def collect(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    for name, value in (("--older-than", arguments.older_than), ("--keep-gb", arguments.keep_gb)):
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError("A limit is a number from 0 on.", where=name, got=value, expected="a number ≥ 0")
    root, found = _found(arguments, err)
    keep = None if arguments.keep_gb is None else int(arguments.keep_gb * 1e9)
    limits = (arguments.older_than, keep, arguments.stage, arguments.overrides or None)
    meant = () if limits == (None,) * len(limits) else chosen(found, older_than=arguments.older_than, keep_bytes=keep)
    rests, used = leftovers(root, time.time()), in_use(root)
    going = tuple(entry for entry in meant if (entry.stage, entry.digest) not in used)
    kept = len(meant) - len(going)
    if arguments.yes:
        going = remove_unused(root, going)
        remove(rests)
    what = f"{len(going):,} results ({_size(going)}) and {len(rests)} leftovers of killed runs in {root}"
    _say(arguments, out, what, [f"kept {kept:,} results that running processes use"] if kept else [], going or rests)
    return 0


def reset(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
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
    _say(arguments, out, f"{len(found):,} results ({_size(found)}) in {root}", [], found)
    return 0


def _say(arguments: Namespace, out: OutputConsole, what: str, notes: list[str], going: object) -> None:
    ask = [] if arguments.yes or not going else ["add --yes to do it"]
    for line in (f"{'removed' if arguments.yes else 'would remove'} {what}", *notes, *ask):
        out.write(line)


def _found(arguments: Namespace, err: ErrorConsole) -> tuple[Path, tuple[Entry, ...]]:
    config = config_of(arguments)
    root = _root(config)
    found = entries(root, arguments.stage)
    # An override of the store alone says where to look, not which experiment.
    if all(override.startswith("output.") for override in arguments.overrides):
        return root, found
    with progress(err) as observer:
        return root, chosen(found, keys=keys_of(config, observer))


def _root(config: ExperimentConfig) -> Path:
    """Return the store's folder; one that is not there yet is empty."""
    root = Path(config.output.store)
    if root.exists() and not root.is_dir():
        raise ArtifactError("The store is no folder.", where="output.store", got=str(root), expected="a folder")
    return root


def _size(found: tuple[Entry, ...]) -> str:
    return _bytes(sum(entry.size for entry in found))


def _bytes(size: float) -> str:
    power = next((at for at in range(3) if size < 1000 ** (at + 1)), 3)
    return f"{size / 1000**power:,.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB')[power]}"

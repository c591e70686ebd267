"""`bench cache`: look after the artifact store."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands, add_command, config_of
from harness.cli.terminal import show
from harness.config import ExperimentConfig
from harness.errors import ArtifactError, ConfigError
from harness.report.table import numbers, table
from harness.run.sweep import keys_of
from harness.store.artifacts import Key, canonical_json
from harness.store.care import (
    Entry,
    check_unused,
    chosen,
    damaged,
    entries,
    leftovers,
    remove,
    remove_unused,
    summary,
)
from harness.store.locks import in_use

_HELP = {
    "status": """\
Print what the artifact store holds: results, size and age by stage. With overrides, only what that experiment uses.

examples:
  bench cache status
  bench cache status data=cn_csi300 model=lightgbm --json

exit codes: 0 fine, 2 a mistake in the command""",
    "verify": """\
Hold every file of the store against its checksum. A damaged result is listed; it would be computed again.

examples:
  bench cache verify
  bench cache verify --stage window --remove

exit codes: 0 all sound, 1 something is damaged, 2 a mistake in the command""",
    "gc": """\
Remove results that meet every condition, oldest first, and what killed processes have left. Nothing is lost but time:
whatever is needed again is computed again, to the same bits. What a running process uses stays. Without --yes it only
says what would go.

examples:
  bench cache gc --older-than 30 --yes
  bench cache gc --keep-gb 20 --yes
  bench cache gc --stage window --stage processed --yes
  bench cache gc data=cn_csi300 model=lightgbm --yes            what this experiment uses

exit codes: 0 fine, 2 a mistake in the command""",
    "reset": """\
Remove the whole store, unless a running process uses it. Runs and blessed snapshots stand elsewhere, untouched.

examples:
  bench cache reset --yes
  bench cache reset output.store=/scratch/store --yes

exit codes: 0 fine, 2 a mistake in the command""",
}


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command with its actions."""
    parser = groups.add_parser("cache", help="look after the artifact store")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    status = add_command(actions, "status", "print what the store holds", _HELP["status"])
    status.set_defaults(command=cache_status)
    verify = add_command(actions, "verify", "hold every file against its checksum", _HELP["verify"])
    verify.add_argument("--remove", action="store_true", help="remove what is damaged")
    verify.set_defaults(command=cache_verify)
    collect = add_command(actions, "gc", "remove what is old, too much, or of one experiment", _HELP["gc"])
    collect.add_argument("--older-than", type=float, metavar="DAYS", help="only results of this age")
    collect.add_argument("--keep-gb", type=float, metavar="GB", help="only until the store is no larger than this")
    collect.set_defaults(command=cache_gc)
    reset = add_command(actions, "reset", "remove the whole store", _HELP["reset"])
    reset.set_defaults(command=cache_reset)
    for action in (status, verify, collect):
        action.add_argument("--stage", action="append", metavar="NAME", help="only this stage; may be given again")
    for action in (status, verify):
        action.add_argument("--json", action="store_true", help="print JSON")
    for action in (collect, reset):
        action.add_argument("--yes", action="store_true", help="do it instead of saying what would be done")


def cache_status(arguments: Arguments, out: Console, err: Console) -> int:
    """Print what the store holds."""
    root, found = _found(arguments, err)
    lines = summary(found)
    if arguments.json:
        record = {"store": str(root), "stages": [asdict(line) for line in lines]}
        out.print(canonical_json(record, indent=1), markup=False, soft_wrap=True, end="")
        return 0
    rows = []
    for line in lines:
        ages = (f"{line.oldest:.1f} days", f"{line.newest:.1f} days")
        rows.append((line.stage, f"{line.results:,}", _bytes(line.size), *ages))
    rows.append(("all", f"{len(found):,}", _bytes(sum(e.size for e in found)), "", ""))
    show(out, table(str(root), ("stage", *numbers("results", "size", "oldest", "newest")), rows))
    return 0


def cache_verify(arguments: Arguments, out: Console, err: Console) -> int:
    """Hold every file against its checksum."""
    root, found = _found(arguments, err)
    broken = []
    with ProgressObserver(err) as observer:
        observer.start("verify", len(found))
        for entry, is_damaged in damaged(found):
            broken += [entry] if is_damaged else []
            observer.advance("verify")
        observer.finish("verify")
    if arguments.remove:
        remove([entry.folder for entry in broken])
    if arguments.json:
        names = [f"{entry.stage}/{entry.digest}" for entry in broken]
        out.print(canonical_json({"checked": len(found), "damaged": names}, indent=1), markup=False, end="")
    else:
        for entry in broken:
            state = "removed" if arguments.remove else "damaged"
            out.print(f"{state}  {entry.folder}", markup=False, soft_wrap=True)
        out.print(f"{len(found):,} results checked in {root}, {len(broken)} damaged", markup=False, soft_wrap=True)
    return 1 if broken else 0


def cache_gc(arguments: Arguments, out: Console, err: Console) -> int:
    """Remove what meets every condition."""
    for name, value in (("--older-than", arguments.older_than), ("--keep-gb", arguments.keep_gb)):
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError("A limit is a number from 0 on.", where=name, got=value, expected="a number ≥ 0")
    limits = (arguments.older_than, arguments.keep_gb, arguments.stage, arguments.overrides or None)
    root, found = _found(arguments, err)
    keep = None if arguments.keep_gb is None else int(arguments.keep_gb * 1e9)
    going = () if limits == (None,) * len(limits) else chosen(found, older_than=arguments.older_than, keep_bytes=keep)
    rests = leftovers(root, time.time())
    used = in_use(root)
    kept = [entry for entry in going if (entry.stage, entry.digest) in used]
    going = tuple(entry for entry in going if entry not in kept)
    if arguments.yes:
        going = remove_unused(root, going)
        remove(rests)
    verb = "removed" if arguments.yes else "would remove"
    size = _bytes(sum(entry.size for entry in going))
    out.print(
        f"{verb} {len(going):,} results ({size}) and {len(rests)} leftovers of killed runs in {root}", markup=False
    )
    if kept:
        out.print(f"kept {len(kept):,} results that running processes use", markup=False)
    if not arguments.yes and (going or rests):
        out.print("add --yes to do it", markup=False)
    return 0


def cache_reset(arguments: Arguments, out: Console, err: Console) -> int:
    """Remove every result."""
    other = next((override for override in arguments.overrides if not override.startswith("output.")), None)
    if other is not None:
        raise ConfigError(
            "A reset removes the whole store, not what one experiment uses.",
            where="bench cache reset",
            got=other,
            expected="no override, or output.store=FOLDER",
            hint=f"bench cache gc {other} removes what that experiment uses",
        )
    root = _root(config_of(arguments))
    found = entries(root)
    if arguments.yes:
        check_unused(root)
        remove([*(entry.folder for entry in found), *leftovers(root, float("inf"))])
    verb = "removed" if arguments.yes else "would remove"
    out.print(f"{verb} {len(found):,} results ({_bytes(sum(e.size for e in found))}) in {root}", markup=False)
    if not arguments.yes and found:
        out.print("add --yes to do it", markup=False)
    return 0


def _found(arguments: Arguments, err: Console) -> tuple[Path, tuple[Entry, ...]]:
    """Return the store's folder and the results that the command is about."""
    config = config_of(arguments)
    root = _root(config)
    found = entries(root, arguments.stage)
    # An override of the store alone says where to look, not which experiment.
    if all(override.startswith("output.") for override in arguments.overrides):
        return root, found
    with ProgressObserver(err) as observer:
        keys: frozenset[Key] = keys_of(config, observer)
    return root, chosen(found, keys=keys)


def _root(config: ExperimentConfig) -> Path:
    """Return the store's folder; one that is not there yet is empty."""
    root = Path(config.output.store)
    if root.exists() and not root.is_dir():
        raise ArtifactError("The store is no folder.", where="output.store", got=str(root), expected="a folder")
    return root


def _bytes(size: float) -> str:
    units = ("B", "kB", "MB", "GB")
    power = next((at for at in range(len(units)) if size < 1000 ** (at + 1)), len(units) - 1)
    return f"{size / 1000**power:,.{1 if power else 0}f} {units[power]}"

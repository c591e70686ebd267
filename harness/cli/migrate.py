"""`bench migrate`: bring snapshots of an older schema to the current one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.cli.shared import Arguments, Commands
from harness.cli.streams import ErrorConsole
from harness.errors import SnapshotError
from harness.snapshots.baseline import Baselines
from harness.snapshots.snapshot import migrate_file, read_snapshot
from harness.snapshots.verdicts import ExitCode
from harness.store.artifacts import canonical_json

_HELP = """\
Bring snapshots to the current schema version, in place and atomically. Each is first checked by the rules of the
version that wrote it, so that an edited file cannot be laundered; identity, metrics and digest stay as they are. A case
of baselines without a list of its versions gets one.

examples:
  bench migrate results
  bench migrate runs/my-run-0123456789ab/snapshot.json

exit codes: 0 fine, 2 a file that is no snapshot, was edited, or is of an unknown version"""
_SNAPSHOT = re.compile(r"v\d{4,}\.json|snapshot\.json")


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "migrate",
        help="bring snapshots of an older schema to the current one",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a snapshot, or a folder with snapshots at any depth")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(command=migrate)


def migrate(arguments: Arguments, out: Console, _: Console) -> int:
    """Migrate every file; one that cannot be is reported and the others are."""
    records, failed = [], False
    for path in _files(arguments.paths):
        try:
            old, new = migrate_file(path)
        except SnapshotError as error:
            failed = True
            ErrorConsole().print(Text(f"bench: {error}", style="bold red"), soft_wrap=True)
            continue
        records.append({"path": str(path), "from": old, "to": new})
        if not arguments.json:
            said = f"is of version {new} already" if old == new else f"version {old} → {new}"
            out.print(Text(f"{path}: {said}"), soft_wrap=True)
    for folder in sorted({Path(str(record["path"])).parent for record in records}):
        if _lacks_list(folder):
            Baselines(folder.parent.parent).list_versions(folder.parent.name, folder.name)
    if arguments.json:
        out.print(canonical_json(records, indent=1), markup=False, soft_wrap=True, end="")
    return int(ExitCode.USER_ERROR if failed else ExitCode.FINE)


def _lacks_list(folder: Path) -> bool:
    """Return whether a folder is that of a baseline, as `Baselines` lays it out, without a list of its versions."""
    first = folder / "v0001.json"
    if not first.is_file() or (folder / "versions.json").exists():
        return False
    snapshot = read_snapshot(first)
    return snapshot.blessing is not None and (snapshot.suite, snapshot.case) == (folder.parent.name, folder.name)


def _files(paths: list[str]) -> Iterator[Path]:
    for text in paths:
        path = Path(text)
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*.json") if _SNAPSHOT.fullmatch(p.name))
        if not found:
            raise SnapshotError("The folder holds no snapshot.", where=text, expected="v0001.json, snapshot.json")
        yield from found

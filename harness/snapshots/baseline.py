"""The versioned store of baselines: ``<root>/<suite>/<case>/v0003.json``, immutable; the highest version counts.

Each version carries a blessing: its number, when and why it was made, and the digest of the version it replaced. So the
versions of a case are a chain, and ``versions.json`` beside them lists them all: one that was edited, renamed, copied
or taken away, the newest included, is noticed by whoever reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import SnapshotError, closest
from harness.snapshots.snapshot import Snapshot, read_snapshot, write_new_snapshot
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically
from harness.store.locks import only_maker

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*")
_FILE = re.compile(r"v\d{4,}\.json")
_REFERENCE = re.compile(r"(?P<name>.+?)(?:@v?(?P<version>\d+))?")
_RUN_FILE = "snapshot.json"
_LIST = "versions.json"
_LOCK = ".versions-lock"
_RESTORE = "restore the folder from version control"
_ATTRIBUTES = "# Snapshots are compared byte for byte: git must not convert their line ends.\n* -text\n"


@dataclass(frozen=True)
class Version:
    """One blessed snapshot, and why and when it was; numbers begin at 1."""

    number: int
    path: Path
    snapshot: Snapshot

    @property
    def reason(self) -> str:
        return str((self.snapshot.blessing or {})["reason"])

    @property
    def time(self) -> str:  # ISO text in UTC
        return str((self.snapshot.blessing or {})["time"])


@dataclass(frozen=True)
class Referenced:
    """What a reference on the command line stands for; its label is ``smoke/linear@v2`` or a path."""

    label: str
    snapshot: Snapshot


@dataclass(frozen=True)
class Baselines:
    """The baselines under one folder, made when the first is blessed; `bless` is the only way to write there."""

    root: Path

    def bless(
        self, snapshot: Snapshot, reason: str, *, only_new: bool = False, when: datetime | None = None
    ) -> Version:
        """Write a snapshot as the next version of its case and return it. No version is ever overwritten.

        Of several writers at once each gets a version of its own, or the error below.

        Args:
            snapshot, reason, when: What is blessed, why, and the time to record: now by default.
            only_new: Bless a case that has no baseline yet, and no other.

        Raises:
            SnapshotError: When the reason is empty, the snapshot's own audit found a leak, the baseline has the same
                content already, or there is one though `only_new`.
        """
        name = f"{snapshot.suite}/{snapshot.case}"
        if not reason.strip():
            expected = "one sentence: what changed, why"
            raise SnapshotError("A blessing needs a reason.", where="reason", expected=expected)
        if snapshot.leak is not None:
            what, hint = "A run that used the future is no baseline.", "bench audit shows every finding"
            raise SnapshotError(what, where=name, got=snapshot.leak, expected="a clean audit", hint=hint)
        moment = (when or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        while True:
            past = self.history(snapshot.suite, snapshot.case, blessing=True)
            replaces = past[-1].snapshot.digest if past else None
            if past and only_new:
                what = "The case has a baseline already."
                raise SnapshotError(what, where=name, got=f"v{len(past)}", expected="none")
            if replaces == snapshot.digest:
                what = "There is nothing to bless: the baseline has the same identity and metrics."
                raise SnapshotError(what, where=name, got=f"v{len(past)}")
            number = len(past) + 1
            blessing = {"version": number, "reason": reason.strip(), "time": moment, "replaces": replaces}
            # From the second version on a list of those before it stands beside it.
            listed = {"listed": True} if past else {}
            blessed = replace(placeless(snapshot), blessing={**blessing, **listed})
            path = self._folder(snapshot.suite, snapshot.case) / f"v{number:04d}.json"
            if not self.root.exists():
                write_atomically(self.root / ".gitattributes", _ATTRIBUTES.encode())
            if past and not (path.parent / _LIST).exists():
                self.list_versions(snapshot.suite, snapshot.case)
            if write_new_snapshot(blessed, path):
                self.list_versions(snapshot.suite, snapshot.case)
                return Version(number, path, blessed)

    def baseline(self, suite: str, case: str) -> Version | None:
        """Return the highest version of a case, or None when it was never blessed."""
        past = self.history(suite, case)
        return past[-1] if past else None

    def history(self, suite: str, case: str, *, blessing: bool = False) -> tuple[Version, ...]:
        """Return every version of a case, oldest first, held to a list that did not change while they were read.

        While others are `blessing` at once, several versions may not be listed yet.

        Raises:
            SnapshotError: When a version was edited, renamed, put there by hand, or is missing, the newest included.
        """
        path = self._folder(suite, case) / _LIST
        while True:
            listed, versions = _content(path), self._chain(suite, case)
            if _content(path) == listed:
                _check_list(path, versions, listed, blessing=blessing)
                return versions

    def list_versions(self, suite: str, case: str) -> None:
        """Write the list of a case's versions anew; raises `SnapshotError` when they do not follow each other."""
        folder = self._folder(suite, case)
        try:
            with only_maker(folder / _LOCK):
                record = [{"version": v.number, "digest": v.snapshot.digest} for v in self._chain(suite, case)]
                write_atomically(folder / _LIST, canonical_json(record, indent=1).encode())
        except OSError as error:
            what = "The list of versions cannot be written; the version itself was."
            got, hint = f"{type(error).__name__}: {error}", f"bench migrate {folder} writes it"
            raise SnapshotError(what, where=str(folder / _LIST), got=got, hint=hint) from error

    def _chain(self, suite: str, case: str) -> tuple[Version, ...]:
        versions: list[Version] = []
        for number, path in enumerate(_version_files(self._folder(suite, case)), start=1):
            replaces = versions[-1].snapshot.digest if versions else None
            expected: dict[str, object]
            expected = {"suite": suite, "case": case, "version": number, "replaces": replaces}
            snapshot = read_snapshot(path)
            if snapshot.blessing is None:
                what, hint = "This snapshot was put among the baselines by hand.", f"bench bless --reason … {path}"
                raise SnapshotError(what, where=str(path), expected="a version that was blessed", hint=hint)
            got = {**snapshot.blessing, "suite": snapshot.suite, "case": snapshot.case}
            wrong = [key for key in expected if expected[key] != got.get(key)]
            if wrong:
                what = "The versions of this case do not follow each other: one was renamed, replaced or taken away."
                sides = [", ".join(f"{key} {side.get(key)}" for key in wrong) for side in (got, expected)]
                raise SnapshotError(what, where=str(path), got=sides[0], expected=sides[1], hint=_RESTORE)
            versions.append(Version(number, path, snapshot))
        return tuple(versions)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Suite and case of everything that has a baseline, damaged or not, in order."""
        folders = {path.parent for path in self.root.glob("*/*/[!.]*")}
        found = sorted((folder.parent.name, folder.name) for folder in folders)
        return [pair for pair in found if all(map(_NAME.fullmatch, pair))]

    def cases(self, suite: str) -> tuple[str, ...]:
        """Return the names of a suite's cases that have a baseline."""
        check_names((suite,))
        return tuple(case for other, case in self.pairs if other == suite)

    def orphans(self, suite: str, known: Iterable[str]) -> tuple[str, ...]:
        """Return the cases of a suite that have a baseline though they are not among the `known` ones."""
        return tuple(sorted(set(self.cases(suite)) - set(known)))

    def resolve(self, reference: str) -> Referenced:
        """Return the snapshot that ``case``, ``suite/case``, either with ``@v2``, or a path stands for.

        A path is a snapshot's file, or the folder of a run. Raises `SnapshotError` when nothing, or more than one case,
        has that name.
        """
        if (found := at_path(reference)) is not None:
            return found
        match = _REFERENCE.fullmatch(reference)
        name, wanted = (match["name"], match["version"]) if match else (reference, None)
        cases = named(self.pairs, name, self.root)
        # A case goes before the cases of a suite of the same name.
        (suite, case), *others = cases = [pair for pair in cases if name != pair[0] or name == pair[1]] or cases
        if others:
            expected = ", ".join(map("/".join, cases))
            raise SnapshotError("Several cases have this name.", where=str(self.root), got=name, expected=expected)
        past = self.history(suite, case)
        number = len(past) if wanted is None else int(wanted)
        if not 1 <= number <= len(past):
            what, expected = "There is no such version.", f"v1 … v{len(past)}"
            raise SnapshotError(what, where=f"{suite}/{case}", got=f"v{number}", expected=expected)
        return Referenced(f"{suite}/{case}@v{number}", past[number - 1].snapshot)

    def _folder(self, suite: str, case: str) -> Path:
        check_names((suite, case))
        return self.root / suite / case


def placeless(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot whose command does not say where the run was kept: baselines are shared, folders are not."""
    command = snapshot.provenance.get("command")
    if command is None:
        return snapshot
    kept = [text for text in command if not text.startswith("output.")]
    return replace(snapshot, provenance={**snapshot.provenance, "command": kept})


def at_path(reference: str) -> Referenced | None:
    """Return the snapshot in a file, or in the folder of a run; None when that is not what `reference` is."""
    path = Path(reference)
    if path.suffix != ".json" and not (path / _RUN_FILE).is_file():
        return None
    return Referenced(reference, read_snapshot(path / _RUN_FILE if path.is_dir() else path))


def named(known: Sequence[tuple[str, str]], name: str, where: Path) -> list[tuple[str, str]]:
    """Return those of the suites and cases that a suite, a case or both name; a `SnapshotError` when there are none."""
    found = [pair for pair in known if name in (*pair, "/".join(pair))]
    if not found:
        cases = sorted(map("/".join, known))
        hint = closest(name, sorted({*cases, *(part for pair in known for part in pair)}))
        what, expected = "Nothing that was blessed or run has this name.", ", ".join(cases) or "nothing yet"
        raise SnapshotError(what, where=str(where), got=name, expected=expected, hint=hint)
    return found


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        what, got = "The list of versions cannot be read.", f"{type(error).__name__}: {error}"
        raise SnapshotError(what, where=str(path), got=got, hint=_RESTORE) from error


def _check_list(path: Path, versions: tuple[Version, ...], content: bytes | None, *, blessing: bool) -> None:
    """Check that every version is there that the list's content names."""
    folder, restore = path.parent, "restore it from version control"
    if content is None:
        if any((version.snapshot.blessing or {}).get("listed") for version in versions):
            hint = f"{restore}; if it was never there, bench migrate {folder} writes it"
            raise SnapshotError("The list of versions is missing.", where=str(path), hint=hint)
        return
    there = {version.number: version.snapshot.digest for version in versions}
    try:
        record = json.loads(content)
        if not isinstance(record, list):
            raise TypeError("it holds no list")
        listed = {int(entry["version"]): str(entry["digest"]) for entry in record}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what, got = "The list of versions cannot be read.", f"{type(error).__name__}: {error}"
        hint = f"after a merge keep one side's versions, remove the file, and run bench migrate {folder}"
        raise SnapshotError(what, where=str(path), got=got, hint=hint) from error
    # One more than are listed is a blessing whose process was killed; while others bless at once, there may be several.
    unlisted = sorted(there.keys() - listed.keys())
    if len(unlisted) > 1 and not blessing:
        what = "The list of versions is shorter than the versions that are there."
        got = f"{len(listed)} listed, {len(there)} there"
        hint = f"{restore}; if it is lost, remove it and run bench migrate {folder}"
        raise SnapshotError(what, where=str(path), got=got, expected=f"v{unlisted[0]} in the list", hint=hint)
    for number, digest in sorted(listed.items()):
        if there.get(number) != digest:
            what = "A version is another one than is listed." if number in there else "A listed version is missing."
            where, got = str(folder / f"v{number:04d}.json"), there.get(number, "no such file")
            expected = f"v{number} with the digest {digest}"
            raise SnapshotError(what, where=where, got=got, expected=expected, hint=_RESTORE)


def _version_files(folder: Path) -> list[Path]:
    """Return the versions in a case's folder, 1 … k without a gap; files being written are hidden."""
    found = [path for path in folder.glob("[!.]*") if path.name != _LIST]
    for path in found:
        if not _FILE.fullmatch(path.name):
            raise SnapshotError("This is no baseline.", where=str(path), expected="v0001.json, v0002.json, …")
    found.sort(key=lambda path: int(path.stem[1:]))
    for number, path in enumerate(found, start=1):
        if path.name != (expected := f"v{number:04d}.json"):
            what = "A version is missing."
            raise SnapshotError(what, where=str(folder), got=path.name, expected=expected, hint=_RESTORE)
    return found


def check_names(names: Iterable[str], where: str | None = None) -> None:
    """Refuse what cannot be the name of a suite or a case, as each is that of a folder; `where` it stands."""
    for name in names:
        if not _NAME.fullmatch(name):
            what, hint = "This cannot be the name of a suite or a case.", "give it another name"
            expected = "letters, digits and . _ + = - ; no / and no leading dot"
            raise SnapshotError(what, where=where, got=repr(name), expected=expected, hint=hint)

"""The matrix mutant × detector: `python -m tests.leakage.matrix` audits every mutant and writes it anew."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from harness.audit import Level
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically
from tests.leakage import adaptation, data, learning, reporting
from tests.leakage.mutant import Mutant, verdict_of

__all__ = ["DETECTORS", "DOCUMENT", "MUTANTS", "RECORD", "Caught", "audited", "document", "recorded"]

Caught = dict[str, list[str]]  # level → detectors

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("matrix.json")
DOCUMENT = ROOT / "docs" / "explanation" / "leakage-matrix.md"
MUTANTS: tuple[Mutant, ...] = (*data.MUTANTS, *learning.MUTANTS, *adaptation.MUTANTS, *reporting.MUTANTS)
DETECTORS = {
    "reads": "what a fit read, as its views recorded it or refused it, against its decision",
    "borders": "purge at every border, by the label's own look-ahead; features that look ahead",
    "rows": "predicted rows against those that could be traded",
    "judgement": "label and IC, computed again from the panel",
    "poison": "predictions up to a cut, with another future after it",
    "foreign": "predictions made on another future, against the real one",
    "evaluation": "series up to a cut, with another future after it",
    "adaptation": "leaks that the adaptation names itself",
    "repeat": "a second run in an empty store",
    "shuffled": "labels dealt at random",
    "outside": "files, network, other programs",
    "memory": "data kept in the object, in globals, in closures",
    "inputs": "inputs that are changed",
}
_LEVELS = (Level.SAMPLED, Level.FULL)
_HEAD = """\
# Mutants and what catches them

Each row is a deliberately leaky variant from `tests/leakage`, on a small simulated market: ● caught by `--level
sampled`, ○ by `--level full` alone. Written by `python -m tests.leakage.matrix`; the nightly tests audit every mutant
again.
"""


def audited(mutant: Mutant) -> Caught:
    """Return which detectors catch a mutant at each level."""
    caught = {}
    for level in _LEVELS:
        with tempfile.TemporaryDirectory() as folder:
            caught[str(level)] = list(verdict_of(mutant, level, Path(folder)).caught_by)
    return caught


def recorded() -> dict[str, Caught]:
    """Return name → what was caught when the matrix was last written."""
    found: dict[str, Caught] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def document(record: dict[str, Caught]) -> str:
    """Return the page."""
    levels = [str(level) for level in _LEVELS]
    counts = ", ".join(
        f"{sum(bool(record[m.name][level]) for m in MUTANTS)} of {len(MUTANTS)} by `{level}`" for level in levels
    )
    explained = "\n".join(f"- **{name}**: {what}" for name, what in DETECTORS.items())
    header = "| leak through | mutant | " + " | ".join(DETECTORS) + " |"
    rule = "|---|---|" + ":-:|" * len(DETECTORS)
    rows = [_row(mutant, record[mutant.name]) for mutant in MUTANTS]
    return "\n".join([_HEAD, f"Caught: {counts}.", "", explained, "", header, rule, *rows, ""])


def _row(mutant: Mutant, caught: Caught) -> str:
    sampled, full = (set(caught[str(level)]) for level in _LEVELS)
    marks = ["●" if name in sampled else "○" if name in full else "" for name in DETECTORS]
    return f"| {mutant.group} | {mutant.name} | " + " | ".join(marks) + " |"


def main() -> None:
    """Audit every mutant, and write the record and the page."""
    record = {}
    for mutant in MUTANTS:
        record[mutant.name] = audited(mutant)
        sys.stderr.write(f"{mutant.group}: {mutant.name}: {record[mutant.name]}\n")
    write_atomically(RECORD, canonical_json(record, indent=1).encode())
    write_atomically(DOCUMENT, document(record).encode())


if __name__ == "__main__":
    main()

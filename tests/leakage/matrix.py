"""The matrix mutant × detector: `python -m tests.leakage.matrix` audits every mutant and every clean configuration.

It writes the record and the page anew; `--resume` keeps what is recorded, `--workers N` works in N processes.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from harness.audit.verdict import Level
from harness.store.artifacts import canonical_json
from harness.store.files import write_atomically
from tests.leakage import (
    adaptation,
    data,
    held_edges,
    held_memory,
    held_parts,
    held_places,
    held_sources,
    learning,
    planning,
    reporting,
)
from tests.leakage.mutant import Mutant, verdict_of
from tests.leakage.test_clean import CLEAN, alarms

__all__ = [
    *("DETECTORS", "DOCUMENT", "MENDED", "MUTANTS", "RECORD", "SEEDS"),
    *("audited", "caught", "document", "main", "recorded", "sentence"),
]

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("matrix.json")
DOCUMENT = ROOT / "docs" / "explanation" / "leakage-matrix.md"
KNOWN = (*data.MUTANTS, *learning.MUTANTS, *adaptation.MUTANTS, *planning.MUTANTS, *reporting.MUTANTS)
HELD = (held_sources, held_memory, held_parts, held_edges, held_places)
MUTANTS: tuple[Mutant, ...] = (*KNOWN, *(mutant for module in HELD for mutant in module.MUTANTS))
# Held out, and passed when they were first audited. A check was mended by its principle then: they stay what they were.
MENDED = frozenset(
    {
        "a metric that mends the scores it is given",  # caught at first, as long as runs stored what it had mended
        "a strategy that reaches behind its history",
        "a strategy whose history is a day too long",
        "coefficients in a limit of the process",
        "coefficients in an attribute of a file",
        "filled at the lowest price of the day",
        "signs of coefficients in the mask of new files",
        "the benchmark of the source that ends lower",
        "volume declared to be known three days ahead",
        "weeks dated by their first day",
    }
)
SEEDS = (0, 1, 2, 3, 4)  # of the market, for each clean configuration
DETECTORS = {
    "reads": "what a fit read, as its views recorded it or refused it, against its decision",
    "borders": "purge at every border, by the label's own look-ahead; features that look ahead",
    "rows": "predicted rows against those that could be traded",
    "judgement": "label and metrics, computed again from the panel",
    "poison": "predictions up to a cut, with other raw data after it, in a fresh process",
    "reported": "series and metrics up to a cut, likewise",
    "batches": "earlier scores of a segment, with other rows after them",
    "orders": "what is ordered, with another market after the signal, and whether price and acceptance can be had",
    "outside": "files, network, other programs, the real data, as the sandbox refuses and audit events hear them",
    "prior": "what stays of the predictions when labels turn, and when they are permuted",
    "inputs": "inputs that are changed",
}
_LEVELS = (Level.SAMPLED, Level.FULL)
_HEAD = """\
# Mutants and what catches them

Each row is a deliberately leaky variant from `tests/leakage`, on a small simulated market: ● caught by `--level
sampled`, ○ by `--level full`, which is asked where `sampled` finds nothing. ◆ marks what is held out: written before it
was run, and no detector was tuned on it. ◇ was held out too and passed; a check was mended then, which is why it is
caught now. The rates count it as missed. Written by `python -m tests.leakage.matrix`; the nightly tests audit every
mutant again. On Linux, in the sandbox: without it what only C++ code opens goes unseen.
"""
_KEPT = """\
Each of them catches what no other does, but for two. **rows** is the only one that finds rows of halts at `static`,
where no other world is asked. **prior** is no look at the future at all: no other world can show what was known before,
and on this market of 24 instruments and 100 days of test it is seldom proved; it is what separates a rule, declared,
from a learner.
"""


def audited(mutant: Mutant) -> dict[str, list[str]]:
    """Return which detectors catch a mutant at each level; what `sampled` finds, `full` finds too."""
    caught: dict[str, list[str]] = {}
    for level in _LEVELS:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            found = next(iter(caught.values()), []) or list(verdict_of(mutant, level, Path(folder)).caught_by)
        caught[str(level)] = found
    return caught


def recorded() -> dict[str, dict[str, Any]]:
    """Return ``mutants``: name → what caught them, and ``clean``: name → seed → what raised an alarm."""
    found: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def document(record: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    explained = "\n".join(f"- **{name}**: {what}" for name, what in DETECTORS.items())
    header = "| leak through | mutant | " + " | ".join(DETECTORS) + " |"
    rule = "|---|---|" + ":-:|" * len(DETECTORS)
    rows = [_row(mutant, record["mutants"][mutant.name]) for mutant in MUTANTS if mutant.name in record["mutants"]]
    return "\n".join([_HEAD, *_rates(record), "", explained, "", _KEPT, header, rule, *rows, ""])


def sentence(record: dict[str, dict[str, Any]]) -> str:
    """Return what the README says of a full audit."""
    known, held = (caught(record, is_held, Level.FULL) for is_held in (False, True))
    first = f"All of {known[1]}" if known[0] == known[1] else f"{known[0]} of {known[1]}"
    variants = f"known [leaky variants]({DOCUMENT.relative_to(ROOT)}) are caught"
    return f"{first} {variants}, and {held[0]} of {held[1]} that no check was tuned on;"


def caught(record: dict[str, dict[str, Any]], is_held: bool, level: Level) -> tuple[int, int]:
    """Return how many mutants of one half are caught, and of how many that were audited."""
    found = [m.name for m in MUTANTS if m.held_out is is_held and m.name in record["mutants"]]
    return sum(bool(record["mutants"][name][str(level)]) and name not in MENDED for name in found), len(found)


def _rates(record: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["| | caught by `sampled` | caught by `full` |", "|---|--:|--:|"]
    for is_held, name in ((False, "known"), (True, "held out ◆")):
        counts = (share(*caught(record, is_held, level)) for level in _LEVELS)
        lines.append(f"| {name} | " + " | ".join(counts) + " |")
    alarms = [bool(found) for seeds in record["clean"].values() for found in seeds.values()]
    whole = sum(len(seeds) == len(SEEDS) for seeds in record["clean"].values())
    said = (
        f"False alarms of `sampled`: {share(sum(alarms), len(alarms))} audits of {len(record['clean'])} clean "
        f"configurations, odd ones among them; {whole} of them on {len(SEEDS)} simulated markets each."
    )
    asked = f"{len(record['mutants'])} of the {len(MUTANTS)} mutants have been audited since they were last changed."
    return [*lines, "", asked, said, "Intervals are Wilson's, at 95 %."]


def share(count: int, of: int) -> str:
    """Return a share with its 95 % interval (Wilson, 1927)."""
    z, p = 1.96, count / of
    middle, half = p + z * z / (2 * of), z * (p * (1 - p) / of + z * z / (4 * of * of)) ** 0.5
    low, high = (max(0.0, min(1.0, (middle + side * half) / (1 + z * z / of))) for side in (-1, 1))
    return f"{count} of {of} ({low:.0%} … {high:.0%})"


def _row(mutant: Mutant, caught: dict[str, list[str]]) -> str:
    sampled, full = (set(caught[str(level)]) for level in _LEVELS)
    marks = ["●" if name in sampled else "○" if name in full else "" for name in DETECTORS]
    half = " ◇" if mutant.name in MENDED else " ◆" if mutant.held_out else ""
    return f"| {mutant.group} | {mutant.name}{half} | " + " | ".join(marks) + " |"


def _job(job: tuple[str, str, str]) -> tuple[tuple[str, str, str], Any]:
    kind, name, seed = job
    try:
        if kind == "mutants":
            return job, audited(next(mutant for mutant in MUTANTS if mutant.name == name))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return job, alarms(Path(folder), name, Level.SAMPLED, int(seed))
    except Exception as error:
        error.add_note(f"in {kind}: {name} {seed}")
        raise


def main(arguments: list[str]) -> None:
    """Audit every mutant and clean configuration, and write the record and the page."""
    parser = ArgumentParser(prog="python -m tests.leakage.matrix")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args(arguments)
    record = recorded() if asked.resume else {}
    mutants = {m.name: record.get("mutants", {}).get(m.name) for m in MUTANTS}
    clean = {name: record.get("clean", {}).get(name, {}) for name in CLEAN}
    jobs = [("mutants", name, "") for name, found in mutants.items() if found is None]
    jobs += [("clean", name, str(seed)) for seed in SEEDS for name in CLEAN if str(seed) not in clean[name]]
    # A process of its own for each, which has imported everything and has run nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.leakage.matrix"])
    try:
        with context.Pool(asked.workers, maxtasksperchild=1) as pool:
            for (kind, name, seed), found in pool.imap_unordered(_job, jobs):
                if kind == "mutants":
                    mutants[name] = found
                else:
                    clean[name][seed] = found
                sys.stderr.write(f"{kind}: {name} {seed}: {found}\n")
    finally:  # at the end: the record counts as code of the mutants, which does not change while they run
        known = {name: caught for name, caught in mutants.items() if caught is not None}
        write_atomically(RECORD, canonical_json({"mutants": known, "clean": clean}, indent=1).encode())
    write_atomically(DOCUMENT, document(recorded()).encode())


if __name__ == "__main__":
    main(sys.argv[1:])

"""What the cells of sweeps are held against: one reference per scenario, chosen by one rule for every view."""

from __future__ import annotations

from collections.abc import Sequence

from harness.run.sweep_statistics.candidates import Candidate
from harness.store.artifacts import canonical_json

RULE = "the first cell with adaptation=rolling_retrain, or else the first"
_PLAIN = "RollingRetrain"


def by_scenario(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return the cells grouped by data, label, definition of the metrics and test range, in the order of the cells.

    Only cells of one scenario can be compared: their numbers answer the same question about the same times.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(canonical_json(candidate.scenario), []).append(candidate)
    return list(groups.values())


def references(candidates: Sequence[Candidate], asked: Sequence[str] = ()) -> tuple[Candidate, ...]:
    """Return the reference of each scenario, in the order of the cells but for those asked for, which come first.

    Parameters
    ----------
    candidates
        The cells that have run, in the order of the sweep.
    asked
        Names of cells that shall be references, the most wanted first.
    """
    found = [reference_of(members, asked) for members in by_scenario(candidates)]
    order = {name: at for at, name in reversed(list(enumerate(asked)))}
    return tuple(sorted(found, key=lambda reference: order.get(reference.name, len(order))))


def reference_of(members: Sequence[Candidate], asked: Sequence[str] = ()) -> Candidate:
    """Return the reference of one scenario: the first asked for, or plain rolling retrain, or the first cell."""
    named = {member.name: member for member in reversed(members)}
    wanted = [named[name] for name in asked if name in named]
    plain = [member for member in members if _is_plain(member)]
    return (wanted or plain or list(members))[0]


def _is_plain(candidate: Candidate) -> bool:
    adaptation = candidate.snapshot.identity.get("config", {}).get("adaptation") or {}
    return str(adaptation.get("_target_", "")).rpartition(".")[2] == _PLAIN

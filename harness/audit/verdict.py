"""The verdict of an audit: what was asked, what was found, as frozen records that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

# Check → what it asks.
QUESTIONS = {
    "reads": "did anything fitted read beyond its decision?",
    "borders": "is every border purged by the label's own look-ahead?",
    "rows": "does every predicted row trade in the universe at its time?",
    "judgement": "are the scores judged by the label, and every metric made of them?",
    "poison": "does another future leave the predictions up to its beginning as they were?",
    "reported": "does another future leave every series and metric up to its beginning as it was?",
    "batches": "is a score the same whatever later rows are predicted with it?",
    "orders": "are an order's price and acceptance news to its signal?",
    "outside": "is nothing opened but what was declared?",
    "inputs": "are inputs left as they are?",
    "prior": "do predictions follow the labels that are shown, but for what is declared?",
}


class Level(StrEnum):
    """How much an audit may cost."""

    NONE = "none"
    STATIC = "static"
    SAMPLED = "sampled"
    FULL = "full"


class Outcome(StrEnum):
    """What a check came to."""

    PASSED = "passed"
    LEAK = "leak"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One thing that a reviewer should know: a sentence, the window, time, feature or class, and numbers or dates."""

    what: str
    where: str = ""
    got: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Check:
    """One question of the audit and its answer; `note` says why it was skipped, or what it could not see."""

    name: str
    question: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, name: str, findings: Iterable[Finding], note: str = "") -> Check:
        """Return a check that passed when there is no finding."""
        found = tuple(findings)
        return cls(name, QUESTIONS[name], Outcome.LEAK if found else Outcome.PASSED, found, note)

    @classmethod
    def skipped(cls, name: str, why: str) -> Check:
        """Return a check that could not be made."""
        return cls(name, QUESTIONS[name], Outcome.SKIPPED, (), why)


@dataclass(frozen=True)
class Frontier:
    """Which learning times move the predictions of one window."""

    window: int
    decision: str
    # newest, oldest: dates of the newest and the oldest time whose samples move a prediction; None when none does
    newest: str | None
    oldest: str | None
    # times between the newest one used and the newest one that the purge and the embargo allow; None as above
    waste: int | None
    # found by changing samples; otherwise read off what the views recorded, and `oldest` off the learning segment
    perturbed: bool = True


@dataclass(frozen=True)
class Verdict:
    """What an audit found; `subject` is the windows, test range and predictions, empty when the run was refused."""

    level: Level
    case: str
    checks: tuple[Check, ...]
    frontiers: tuple[Frontier, ...] = ()
    subject: str = ""

    @property
    def clean(self) -> bool:
        """True when no check found a leak."""
        return not self.caught_by

    @property
    def caught_by(self) -> tuple[str, ...]:
        """Names of the checks that found a leak."""
        return tuple(check.name for check in self.checks if check.outcome is Outcome.LEAK)

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        if not self.clean:
            return f"LEAK  found by {', '.join(self.caught_by)}"
        wasted = max((at.waste for at in self.frontiers if at.waste is not None), default=0)
        unused = f"; up to {wasted} periods before the purge were never learned from" if wasted > 0 else ""
        return f"clean  nothing used the future, as far as the {self.level} audit sees{unused}"

    def to_record(self) -> dict[str, Any]:
        """Return JSON-able data; equal for equal verdicts, as it holds no clock time."""
        record: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**record, "clean": self.clean}

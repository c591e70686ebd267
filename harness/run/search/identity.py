"""What makes two searches the same: trials are remembered only where nothing that decides them has changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.run.job import settings_of
from harness.run.search.period import ValidationPeriod
from harness.run.search.result import SearchRequest
from harness.run.search.space import Space
from harness.run.search.study import Direction
from harness.store.artifacts import canonical_json
from harness.store.code_digest import code_digest

# Where trials run and what becomes of them: no number depends on it.
_AROUND = ("executor", "output", "tracking", "audit")


@dataclass(frozen=True)
class SearchIdentity:
    """Digests of everything that decides the trials but their number.

    Attributes
    ----------
    question
        The space and the metric, and how they are asked for.
    settings
        The configuration that the trials have in common, files outside this project included.
    data
        Fingerprint of the data that they see: up to the end of the validation period.
    code
        Of everything that a trial may run, and of the search.
    """

    question: str
    settings: str
    data: str
    code: str

    @property
    def name(self) -> str:
        """The study's name: the same search goes on, another begins anew."""
        return f"search-{_digest(asdict(self))[:12]}"

    def changes(self, others: Iterable[Mapping[str, str]]) -> str | None:
        """Return what has changed since the same question was asked before; None when it was not."""
        told = {"settings": "its configuration", "data": "its data", "code": "its code or a library"}
        own, same = asdict(self), [other for other in others if other.get("question") == self.question]
        # Of several, the one that is closest to this one.
        changed = min(
            ([words for name, words in told.items() if other.get(name) != own[name]] for other in same),
            key=len,
            default=[],
        )
        return " and ".join(changed) or None


def identity_of(
    request: SearchRequest, direction: Direction, space: Space, period: ValidationPeriod, fingerprint: str
) -> SearchIdentity:
    """Return the identity of a search; `fingerprint` is that of the trials' data."""
    asked: dict[str, Any] = {
        "overrides": [text for text in request.overrides if re.split(r"[.=]", text.lstrip("+~"))[0] not in _AROUND],
        "metric": request.metric,
        "direction": direction,
        "seed": request.seed,
        "batch": request.batch,
    }
    common = [cell.refusal if cell.config is None else settings_of(cell.config) for cell in space.cells]
    return SearchIdentity(
        question=_digest(asked),
        settings=_digest({"cells": common, "period": asdict(period.windows)}),
        data=fingerprint,
        code=code_digest("harness.run.search", "harness.run.job", *space.modules),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()

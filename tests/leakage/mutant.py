"""A mutant: one configuration, or one bug of the harness, that leaks on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.audit.audit import audit
from harness.audit.verdict import Level, Verdict
from harness.config import ExperimentConfig
from tests.audit.market import small
from tests.leakage.planted import Planted

__all__ = ["Mutant", "base", "held", "verdict_of"]

Change = Callable[[ExperimentConfig], ExperimentConfig]


@dataclass(frozen=True)
class Mutant:
    """One leak.

    Attributes
    ----------
    group, name
        What it leaks through; the name says how.
    overrides
        Of the small market.
    change
        From the composed configuration to the leaky one.
    patch
        Plants a bug into the harness or into an adaptation: here, and in every fresh process of the audit.
    held_out
        Nothing was tuned on it: it says how a detector does on leaks that it has never met.
    before
        Something that is run in the same store first, as a stale artefact needs.
    files
        Written before anything is run.
    """

    group: str
    name: str
    overrides: tuple[str, ...] = ()
    change: Change | None = None
    patch: Callable[[pytest.MonkeyPatch], None] | None = None
    before: Callable[[Path], None] | None = None
    files: Callable[[Path], None] | None = None
    held_out: bool = False


def held(group: str, name: str, change: Change | None, overrides: tuple[str, ...] = (), **more: Any) -> Mutant:
    """Return a mutant that is held out."""
    return Mutant(group, name, overrides, change, held_out=True, **more)


def base(folder: Path, mutant: Mutant) -> ExperimentConfig:
    """Return the leaky configuration, which keeps everything in `folder`."""
    config = small(folder, *mutant.overrides)
    config = config if mutant.change is None else mutant.change(config)
    return config if mutant.patch is None else replace(config, tracking=Planted(mutant.name))


def verdict_of(mutant: Mutant, level: Level, folder: Path) -> Verdict:
    """Audit a mutant in an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if mutant.files is not None:
            mutant.files(folder)
        if mutant.patch is not None:
            mutant.patch(patch)
        if mutant.before is not None:
            mutant.before(folder)
        return audit(base(folder, mutant), level)

"""What is asked of a search, and what it leaves behind."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import ConfigError
from harness.run.search.period import ValidationPeriod
from harness.run.search.study import Direction
from harness.run.sweep import Outcome
from harness.store.artifacts import canonical_json

RECORD = "search.json"


@dataclass(frozen=True)
class SearchRequest:
    """What is searched, and how.

    Attributes
    ----------
    overrides
        Hydra overrides; those with several values span the space.
    trials
        How many trials the search has when it is finished, those of a resumed study included.
    metric
        Any overall metric of a run.
    direction
        Which way it is better; None: as `METRIC_DIRECTIONS`, or the user's own metric, says.
    seed
        Of the sampler.
    batch
        Trials that are asked for together, to be run at the same time by the executor's workers. The larger it is, the
        less a trial knows of those before it: it belongs to the search, the executor does not.
    storage
        A SQLite file that keeps the trials, so that the same request goes on where it stopped; None: memory.
    search_path
        Folders with further configuration groups.

    Raises
    ------
    ConfigError
        When fewer than one trial is asked for, in all or together.
    """

    overrides: tuple[str, ...]
    trials: int = 20
    metric: str = "rank_IC"
    direction: Direction | None = None
    seed: int = 43
    batch: int = 1
    storage: Path | None = None
    search_path: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a search without trials."""
        for name, number in (("--trials", self.trials), ("--batch", self.batch)):
            if number < 1:
                raise ConfigError("A search needs a trial.", where=name, got=number, expected="≥ 1")


@dataclass(frozen=True)
class TrialResult:
    """How one trial ended.

    Attributes
    ----------
    number
        0, 1, … in the order of the search.
    chosen
        Searched key → value, without the keys that do not apply.
    overrides
        The complete overrides, without the trial's schedule.
    outcome
        ``done``, ``refused`` (the values cannot be run, or have no metric), or ``failed`` (something crashed).
    value
        The metric on the validation period; None unless it is done.
    reason
        Why it was refused or failed.
    folder
        Holds its snapshot; None unless it has one.
    """

    number: int
    chosen: dict[str, str]
    overrides: tuple[str, ...]
    outcome: Outcome
    value: float | None
    reason: str | None
    folder: str | None

    @property
    def name(self) -> str:
        """The chosen values as text."""
        return " ".join(f"{key}={value}" for key, value in self.chosen.items())


@dataclass(frozen=True, eq=False)
class SearchResult:
    """A search, finished or interrupted.

    Attributes
    ----------
    request
        What was asked for.
    direction
        Which way the metric is better.
    period
        Where the trials were judged.
    trials
        In the order of the search.
    folder
        Holds ``search.json`` and the trials' snapshots.
    interrupted
        Whether Ctrl-C ended it.
    """

    request: SearchRequest
    direction: Direction
    period: ValidationPeriod
    trials: tuple[TrialResult, ...]
    folder: Path
    interrupted: bool = False

    @property
    def ranked(self) -> tuple[TrialResult, ...]:
        """The trials, best first; of equal ones the earlier, and those without a value last."""
        sign = -1.0 if self.direction == "maximize" else 1.0
        return tuple(sorted(self.trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number)))

    @property
    def best(self) -> TrialResult | None:
        """The best trial; None when no trial has a value."""
        first = next(iter(self.ranked), None)
        return first if first is not None and first.value is not None else None

    @property
    def command(self) -> str | None:
        """The command that evaluates the best trial on the final test range, once; nothing here runs it."""
        if self.best is None:
            return None
        folders = [part for folder in self.request.search_path for part in ("--config-dir", str(folder))]
        return shlex.join(["bench", "run", *folders, *self.best.overrides])

    def to_json(self) -> str:
        """Return canonical JSON, equal for equal searches."""
        return canonical_json(
            {
                "metric": self.request.metric,
                "direction": self.direction,
                "seed": self.request.seed,
                "batch": self.request.batch,
                "period": asdict(self.period.windows),
                "judged": list(self.period.judged),
                "final_test_begins": self.period.decision,
                "trials": [asdict(trial) for trial in self.ranked],
                "best": None if self.best is None else self.best.number,
                "command": self.command,
            },
            indent=1,
        )

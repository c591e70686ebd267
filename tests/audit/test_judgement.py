"""What is kept is what was forecast, and a metric that writes into what it is given is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from harness.audit.audit import audit
from harness.audit.verdict import Level, Outcome
from harness.evaluation.predictions import Predictions
from harness.execution.progress import Silent
from harness.run.experiment import run
from tests.audit.market import small


@dataclass(frozen=True)
class Writing:
    """A metric that turns the scores, or the labels, that it is given; or one that only looks."""

    into: str | None
    name: str = "own"
    direction: str = "none"

    def compute(self, predictions: Predictions) -> npt.NDArray[np.float64]:
        if self.into is not None:
            values = getattr(predictions, self.into)
            values.setflags(write=True)
            values *= -1
        return np.zeros(predictions.offsets.size - 1)


def metric(into: str) -> str:
    return f"evaluation.extra=[{{_target_: {__name__}.Writing, into: {into}}}]"


@pytest.mark.parametrize("into", ["score", "label"])
def test_what_a_metric_writes_into_forecasts_is_not_kept_and_an_audit_names_it(tmp_path: Path, into: str) -> None:
    honest, writing = (run(small(tmp_path, metric(one)), Silent()) for one in ("null", into))
    files = [(result.folder / "predictions.parquet").read_bytes() for result in (honest, writing)]
    assert files[0] == files[1]
    assert honest.predictions().digest == writing.predictions().digest
    for one, outcome in (("null", Outcome.PASSED), (into, Outcome.LEAK)):
        verdict = audit(small(tmp_path, metric(one)), Level.STATIC)
        (check,) = (check for check in verdict.checks if check.name == "judgement")
        assert check.outcome is outcome
        assert ["writes into" in finding.what for finding in check.findings] == [True] * (outcome is Outcome.LEAK)

"""A linear model that writes down every fit, so that fits can be counted over processes and kills."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass

from baselines.models.linear import FittedLinear, Linear
from harness.samples.interfaces import FittedModel, LearnSet
from harness.store.fingerprint import fingerprint_arrays

__all__ = ["LOG", "SLOW", "CountedLinear"]

LOG = "DRIFTBENCH_TEST_FITS"
SLOW = "DRIFTBENCH_TEST_SECONDS"


@dataclass(frozen=True)
class CountedLinear(Linear):
    """`Linear`; appends the window of every fit to the file that the variable `LOG` names, before it begins."""

    def fit(self, train: LearnSet, valid: LearnSet | None) -> FittedLinear:
        """Write the window down as the store describes it, and fit."""
        _write_down(train)
        return super().fit(train, valid)

    def fit_from(self, start: FittedModel | None, train: LearnSet, valid: LearnSet | None) -> FittedLinear:
        """Write down where the block ends, and continue."""
        _write_down(train, is_continued=True)
        return super().fit_from(start, train, valid)


def _write_down(train: LearnSet, *, is_continued: bool = False) -> None:
    if LOG in os.environ:
        weights = train.time_weights
        told = None if weights is None else fingerprint_arrays({"starts": weights.starts, "values": weights.values})
        started = "chain" if is_continued else train.segment.start
        line = json.dumps([[started, train.segment.stop], told]) + "\n"
        handle = os.open(os.environ[LOG], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(handle, line.encode())
        os.close(handle)
    time.sleep(float(os.environ.get(SLOW, "0")))

"""What a run imports and links while it reads its panel, so that nothing waits for it later."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress

import numpy as np

from harness.data.calendar import Calendar
from harness.data.panel import Panel
from harness.features.engine import compute_features
from harness.features.expression import fields_of
from harness.features.feature_set import FeatureSet


def load_ahead(features: FeatureSet) -> None:
    """Link the kernels that some features need, and import what tests of means need, unless this process has done so.

    It takes most of a second, in a thread of its own. What is computed, of two times of one instrument, is thrown away;
    what cannot be computed or imported says so where it is wanted.
    """

    def work() -> None:
        with suppress(Exception):
            names = {"close", *fields_of(*features.parsed())}
            bars = {name: np.ones((2, 1), np.float32) for name in names}
            times = np.array(["2000-01-03", "2000-01-04"], "datetime64[ns]")
            panel = Panel(Calendar(times), ("A",), bars, np.ones((2, 1), np.bool_))
            compute_features(panel, features, np.arange(3), np.zeros(2, np.int32))
        with suppress(ImportError):  # of `harness.evaluation.significance.hac`
            import scipy.fft
            import scipy.special  # noqa: F401

    if "numba" not in sys.modules:
        threading.Thread(target=work, name="ahead").start()

"""Features are measured against their own time, and a forecast stays in the unit of the label."""

from __future__ import annotations

import numpy as np
from my_transform import MyTransform

from harness import Batch


def test_the_mean_of_the_time_is_taken_off() -> None:
    batch = Batch(time=3, features=np.array([[1.0, 2.0], [3.0, 6.0]], dtype=np.float32), codes=np.array([0, 1]))
    np.testing.assert_array_equal(MyTransform().features(batch), [[-1.0, -2.0], [1.0, 2.0]])
    np.testing.assert_array_equal(MyTransform(share=0.0).features(batch), batch.features)

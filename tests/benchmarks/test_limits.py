"""What `make limits` watches is there."""

from __future__ import annotations

import subprocess
import sys


def test_every_stage_that_is_watched_has_its_place() -> None:
    # In a process of its own: the places are replaced.
    code = "from tests.benchmarks.limits import watch_all; watch_all()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

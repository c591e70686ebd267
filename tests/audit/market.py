"""A market small enough that an audit takes about a second."""

from __future__ import annotations

from pathlib import Path

from harness.config import ExperimentConfig, compose_config

SMALL = (
    "data.instruments=24",
    "data.days=300",
    "data.members=18",
    "features=expressions",
    "label.horizon=5",
    "windows.step=20",
    "windows.split=[0.45,0.2,0.35]",
    "evaluation.significance=null",
)


def small(folder: Path, *overrides: str) -> ExperimentConfig:
    """Return a small experiment that keeps everything in `folder`."""
    output = (f"output.store={folder / 'store'}", f"output.runs={folder / 'runs'}")
    return compose_config([*SMALL, *output, *overrides])

"""The command line, `bench`: the only place that prints."""

from harness.cli.main import main

__all__ = ["main"]

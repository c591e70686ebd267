"""The commands: the one list of their names, what each is for, and the module that holds it."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass

from harness.cli.shared import Commands


@dataclass(frozen=True)
class Command:
    """A command of `bench`.

    Attributes:
        name: What a user types.
        summary: One line for the list of commands; the command's own parser says the same.
        module: Imported when the command is asked for, and not before: some need libraries that take a second to load.
            It has a function ``add``, which adds the command's parser to the others.
    """

    name: str
    summary: str
    module: str

    def add(self, groups: Commands[argparse.ArgumentParser]) -> None:
        """Import the command and add its parser."""
        importlib.import_module(self.module).add(groups)

    def mention(self, groups: Commands[argparse.ArgumentParser]) -> None:
        """Add the command to the list without importing it; it cannot be run."""
        groups.add_parser(self.name, help=self.summary, add_help=False)


COMMANDS = (
    Command("run", "run an experiment: prices in, metrics and a snapshot out", "harness.cli.run_arguments"),
    Command("search", "search hyper-parameters on the validation period, never on test", "harness.cli.search"),
    Command("explain", "print the windows of a configuration without running anything", "harness.cli.explain"),
    Command("config", "print the configuration, the meaning of its keys, or its schema", "harness.cli.config"),
    Command("audit", "prove that no prediction used the future", "harness.cli.audit"),
    Command("check", "hold a suite, cases or runs to their blessed baselines", "harness.cli.check"),
    Command("bless", "make runs the baseline, with a reason", "harness.cli.bless"),
    Command("log", "print the versions of baselines and their reasons", "harness.cli.log"),
    Command("diff", "compare two versions, cases, runs or files", "harness.cli.diff"),
    Command("nightly", "run a suite, check it, write a report, return the worst exit code", "harness.cli.nightly"),
    Command("migrate", "bring snapshots of an older schema to the current one", "harness.cli.migrate"),
    Command("data", "look at, check or convert market data", "harness.cli.data"),
    Command("cache", "look after the artifact store", "harness.cli.cache"),
    Command("report", "write sweeps and runs as one HTML file", "harness.cli.report"),
    Command("leaderboard", "print or export the table of sweeps and runs", "harness.cli.leaderboard"),
    Command("track", "send runs and sweeps to MLflow", "harness.cli.track"),
    Command("new", "write a model, adaptation, source or metric to begin with", "harness.cli.new"),
    Command("convert-qlib", "turn a workflow file of qlib into an experiment", "harness.cli.convert_qlib"),
    Command("completion", "print a script for completion in bash or zsh", "harness.cli.completion"),
)

"""What several commands need: their arguments, their configuration, their stages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.help import config_groups

if TYPE_CHECKING:  # a help text must not wait for them
    from harness.config import ExperimentConfig
    from harness.execution.progress import Observer
    from harness.run.stages import Stages

Arguments = argparse.Namespace
Commands = argparse._SubParsersAction  # the type that argparse gives no public name


def add_command(
    groups: Commands[argparse.ArgumentParser], name: str, summary: str, text: str
) -> argparse.ArgumentParser:
    """Add a command that takes Hydra overrides; `text` teaches it and shows two examples."""
    parser = groups.add_parser(
        name,
        help=summary,
        description=text,
        epilog=config_groups(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides, see below")
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder with your own configuration groups",
    )
    return parser


def config_of(arguments: Arguments) -> ExperimentConfig:
    """Return the checked configuration of a command."""
    from harness.config import compose_config

    return compose_config(arguments.overrides, search_path=arguments.config_dir)


def stages_of(config: ExperimentConfig, observer: Observer) -> Stages:
    """Return the stages of a configuration, on its store."""
    from harness.run.stages import Stages
    from harness.snapshots.provenance import Stopwatch
    from harness.store.artifacts import ArtifactStore

    return Stages(config, ArtifactStore(Path(config.output.store)), Stopwatch(), observer)

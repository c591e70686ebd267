"""What several commands need: their arguments, their configuration, their stages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.store.files import config_folder

# Folders of the tree that other commands read: they are no Hydra groups.
OTHER_FOLDERS = ("regression", "suites")


def group_choices() -> dict[str, list[str]]:
    """Return configuration group → its choices, both sorted."""
    folders = sorted(p for p in config_folder().iterdir() if p.is_dir() and p.name not in OTHER_FOLDERS)
    found = {folder.name: sorted(p.stem for p in folder.glob("*.yaml")) for folder in folders}
    return {name: choices for name, choices in found.items() if choices}


def config_groups() -> str:
    """Return the configuration groups with their choices, as help text."""
    lines = [
        "configuration groups (GROUP=CHOICE, or GROUP.KEY=VALUE for one value; `bench config --describe` all keys):"
    ]
    lines += [f"  {name:<12} {' | '.join(choices)}" for name, choices in group_choices().items()]
    return "\n".join(lines)


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


Words = tuple[str, ...]


def leaves(parser: argparse.ArgumentParser, path: Words = ()) -> dict[Words, argparse.ArgumentParser]:
    """Return path → parser of every command that can be run, such as ``("data", "info")``, in the order of the help."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return {path: parser}
    found: dict[Words, argparse.ArgumentParser] = {}
    for group in groups:
        for name, child in group.choices.items():
            found |= leaves(child, (*path, name))
    return found

"""The configuration that the arguments of a command compose."""

from __future__ import annotations

from argparse import Namespace

from harness.config import ExperimentConfig, compose_config


def config_of(arguments: Namespace) -> ExperimentConfig:
    return compose_config(arguments.overrides, search_path=arguments.config_dir)

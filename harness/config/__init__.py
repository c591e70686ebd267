"""Configuration: Hydra composes it, and it becomes typed, checked objects; a DictConfig ends here.

Every mistake is a `ConfigError` that names the key, the value and what would be accepted.
"""

from harness.config.compose import (
    Composer,
    compose_config,
    composed_yaml,
    known_keys,
    last_of_each_key,
    parse_overrides,
    swept_values,
)
from harness.config.records import (
    EvaluationConfig,
    ExperimentConfig,
    OutputConfig,
    SamplesConfig,
    Tracking,
    WindowsConfig,
    parse,
    rebuild,
)
from harness.store.files import HYDRA, config_files, config_folder

__all__ = [
    "HYDRA",
    "Composer",
    "EvaluationConfig",
    "ExperimentConfig",
    "OutputConfig",
    "SamplesConfig",
    "Tracking",
    "WindowsConfig",
    "compose_config",
    "composed_yaml",
    "config_files",
    "config_folder",
    "known_keys",
    "last_of_each_key",
    "parse",
    "parse_overrides",
    "rebuild",
    "swept_values",
]

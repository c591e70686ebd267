"""Which classes stand behind a configuration group."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from harness.config import EvaluationConfig, OutputConfig, SamplesConfig, WindowsConfig, config_folder
from harness.config.instantiate import locate
from harness.config.tolerances import SuiteFile, TolerancesFile
from harness.errors import ConfigError
from harness.samples import preprocess
from harness.store.records import TARGET, public_name

# Folders whose files need no `_target_`, as there is one class only.
GROUP_RECORDS: Mapping[str, type] = MappingProxyType(
    {
        "windows": WindowsConfig,
        "samples": SamplesConfig,
        "evaluation": EvaluationConfig,
        "output": OutputConfig,
        "suites": SuiteFile,
        "regression": TolerancesFile,
    }
)
# A file that changes several groups begins with this.
GLOBAL = "# @package _global_"


def processors() -> tuple[type[preprocess.Processor], ...]:
    """Return the processors that a `Pipeline` can be made of, by name."""
    found = [getattr(preprocess, name) for name in preprocess.__all__]
    return tuple(c for c in found if inspect.isclass(c) and issubclass(c, preprocess.Processor) and _is_whole(c))


def classes_of_group(group: str, search_path: Sequence[str | Path] = ()) -> dict[str, type]:
    """Return target → class of every object that a file of the group names, those of the search path included.

    Raises:
        ConfigError: When a file is not YAML or names a class that does not exist.
    """
    found = {target: locate(target, str(path)) for path in group_files(group, search_path) for target in targets(path)}
    if preprocess.Pipeline in found.values():
        found |= {public_name(c): c for c in processors()}
    return dict(sorted(found.items()))


def group_files(group: str, search_path: Sequence[str | Path] = ()) -> list[Path]:
    """Return the files of a group, those of the search path included."""
    return [p for folder in (config_folder(), *map(Path, search_path)) for p in sorted((folder / group).glob("*.yaml"))]


def is_global(path: Path) -> bool:
    """Return whether a file changes several groups."""
    return path.read_text(encoding="utf-8").startswith(GLOBAL)


def targets(path: Path) -> list[str]:
    """Return every ``_target_`` in a file, nested ones too."""
    return list(_targets(read_yaml(path)))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a file holds, references unresolved; an empty one when it holds nothing.

    Raises:
        ConfigError: When it is not YAML, or no mapping.
    """
    try:
        node = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            "A configuration file is not YAML.",
            where=str(path),
            got=" ".join(str(error).split()),
            expected="KEY: VALUE lines, nested by spaces",
        ) from error
    if not isinstance(node, Mapping):
        raise ConfigError("A configuration file is a mapping.", where=str(path), got=repr(node), expected="KEY: VALUE")
    return {str(key): value for key, value in node.items()}


def _targets(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield from [str(node[TARGET])] if TARGET in node else []
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _is_whole(cls: type) -> bool:
    return not inspect.isabstract(cls)

"""The configuration tree on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.config.instantiate import join_key
from harness.errors import ConfigError, closest
from harness.store.config_folder import config_folder


def main_groups() -> list[str]:
    """Return the groups in the defaults of the main file."""
    main = OmegaConf.to_container(OmegaConf.load(config_folder() / "config.yaml"), resolve=False)
    defaults = main["defaults"] if isinstance(main, Mapping) else []
    return [str(group) for entry in defaults if isinstance(entry, Mapping) for group in entry]


def search_folders(given: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the folders of a search path, absolute; ``~`` is the home where no folder has that name.

    Raises
    ------
    ConfigError
        When one of them does not exist or is a file; names what is near.
    """
    return tuple(_search_folder(Path(folder)) for folder in given)


def _search_folder(given: Path) -> Path:
    try:
        folder = given if given.is_dir() else given.expanduser()
    except RuntimeError:
        folder = given  # ~somebody who is not known here
    if folder.is_dir():
        return folder.resolve()
    above = folder.resolve().parent
    beside = sorted(p.name for p in above.iterdir() if p.is_dir()) if above.is_dir() else []
    near = closest(folder.name, beside)
    raise ConfigError(
        "The configuration folder is a file." if folder.exists() else "The configuration folder does not exist.",
        where="--config-dir",
        got=str(given),
        expected="a folder with groups like conf/, such as FOLDER/model/mine.yaml",
        hint=f"in {above}: {near}" if near else "`bench new model mine` writes one",
    )


def group_options(group: str, search_path: Sequence[Path] = ()) -> list[str]:
    """Return the choices of a group in all folders, sorted; empty for what is no group."""
    folders = [folder / group for folder in (config_folder(), *search_path)]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml") if path.is_file()})


def known_keys() -> list[str]:
    """Return every dotted key of the main configuration, sorted."""
    with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
        tree = OmegaConf.to_container(compose("config"), resolve=False)
    return sorted(_flatten(tree, ""))


def _flatten(node: object, path: str) -> list[str]:
    if not isinstance(node, Mapping):
        return []
    found = []
    for key, value in node.items():
        name = join_key(path, str(key))
        found += [name, *_flatten(value, name)]
    return found

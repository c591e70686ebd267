"""Overrides as Hydra reads them."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from harness.errors import ConfigError

__all__ = ["parse_overrides", "unreadable"]


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Return the overrides as Hydra reads them.

    Raises
    ------
    ConfigError
        Names the first that it cannot read.
    """
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise unreadable(overrides, error) from error


def unreadable(overrides: Sequence[str], error: Exception) -> ConfigError:
    """Return the error for overrides that Hydra cannot read; names the first one that it cannot."""
    return ConfigError(
        "The command's overrides cannot be read.",
        where=next((text for text in overrides if not _is_readable(text)), " ".join(overrides)),
        got=str(error).strip().splitlines()[0],
        expected="KEY=VALUE, GROUP=CHOICE, +NEW_KEY=VALUE or ~KEY; quote what the shell or Hydra would take apart",
        hint="see `bench run --help`",
    )


def _is_readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True

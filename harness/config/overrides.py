"""Overrides as Hydra reads them, and the values of those that sweep."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException
from omegaconf import OmegaConf

from harness.errors import ConfigError, closest
from harness.store.files import config_folder
from harness.store.records import walk

# More cells than anybody runs; a range with a slip in it would fill the memory.
_MOST = 100_000
_LONGEST = 200  # characters of a text that a message shows
# A plain value that ends an override: what has a meaning in Hydra's grammar is no part of it.
_PLAIN = re.compile(r"(?P<key>\+{0,2}[\w./@:\-]+)=(?P<value>(?! )[^\t\r\n'\"\\\[\]{}(),$]+(?<! ))")
# `shuffle` gives one order, the same every time.
_SHUFFLED = 43


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Return the overrides as Hydra reads them; a plain value that its grammar cannot read is text, as ``~/prices``."""
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except (HydraException, ValueError):
        pass
    try:
        return OverridesParser.create().parse_overrides([_as_text(text) for text in overrides])
    except (HydraException, ValueError) as error:  # ValueError: of a number that has thousands of digits
        raise unreadable(overrides, error) from error


def refuse_sweeps(overrides: Sequence[Override]) -> None:
    """Refuse several values where one is wanted."""
    for override in overrides:
        if override.is_sweep_override():
            line = str(override.input_line)
            key, value = override.get_key_element(), line.partition("=")[2]
            what, expected = f"`{key}` has several values, which makes a sweep.", f"one value, or a list {key}=[…]"
            hint = f"`bench run -m {shlex.quote(line)}` runs one after the other; a text with a comma is "
            hint += f"""{key}='"{value}"'"""
            raise ConfigError(what, where=key.lstrip("+~"), got=line, expected=expected, hint=hint)


def last_of_each_key(overrides: Sequence[Override]) -> list[Override]:
    """Return the overrides that hold where a key is given several times: the last, as in one run, swept or not."""
    return list({override.get_key_element().lstrip("+~"): override for override in overrides}.values())


def swept_values(override: Override, options: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the values of an override that sweeps, as texts; `options` gives the files of a group for `glob(…)`."""
    swept: object = override.value()
    if isinstance(swept, IntervalSweep):
        listed, search = "choice(A,B,…) or range(START,STOP,STEP)", "`bench search` tries values of an interval"
        raise _unlisted(override, "an interval has no list of values", listed, search)
    if isinstance(swept, Glob):
        known = options(override.key_or_group)
        if not known:
            raise _unlisted(override, "glob(…) chooses among the files of a group", "GROUP=glob(PATTERN)")
        names = swept.filter(list(known))
        if not names:
            fitting = f"a pattern that fits one of {', '.join(known)}"
            raise _unlisted(override, "no choice of the group fits", fitting)
        return names
    is_shuffled = isinstance(swept, ChoiceSweep | RangeSweep) and swept.shuffle
    if isinstance(swept, ChoiceSweep | RangeSweep):
        override = dataclasses.replace(override, _value=dataclasses.replace(swept, shuffle=False))
    if isinstance(swept, RangeSweep) and swept.step == 0:
        raise _unlisted(override, "steps of 0 lead nowhere", "range(START,STOP,STEP) with a STEP")
    values = [str(value) for value in itertools.islice(override.sweep_string_iterator(), _MOST + 1)]
    if not values:
        raise _unlisted(override, "the range is empty", "range(START,STOP,STEP) that holds a number")
    if len(values) > _MOST:
        raise _unlisted(override, f"there are more than {_MOST:,} values", "fewer of them")
    if is_shuffled:
        random.Random(_SHUFFLED).shuffle(values)
    return values


def _unlisted(override: Override, why: str, expected: str, hint: str = "see `bench run --help`") -> ConfigError:
    key = override.get_key_element().lstrip("+~")
    what = f"This cannot be swept: {why}."
    return ConfigError(what, where=key, got=override.input_line, expected=expected, hint=hint)


def unreadable(overrides: Sequence[str], error: Exception) -> ConfigError:
    """Return the error for overrides that Hydra cannot read; names the first one that it cannot."""
    wrong = next((text for text in overrides if not _is_readable(_as_text(text))), None)
    shown = " ".join(overrides) if wrong is None else wrong
    key, _, value = (wrong or "").partition("=")
    quoted = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
    helps = value and len(value) <= _LONGEST and not any(sign in value for sign in "'\"\n") and _is_readable(quoted)
    return ConfigError(
        "The command's overrides cannot be read.",
        where=shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} …",
        got=next(iter(str(error).strip().splitlines()), type(error).__name__),
        expected="KEY=VALUE, GROUP=CHOICE, +NEW_KEY=VALUE or ~KEY; quote what the shell or Hydra would take apart",
        hint=(f"if the value is text: '{quoted}'; " if helps else "") + "see `bench run --help`",
    )


def _as_text(override: str) -> str:
    """Return an override that Hydra cannot read with its value quoted, where it is plain; any other as it is."""
    plain = None if _is_readable(override) else _PLAIN.fullmatch(override)
    if plain is None:
        return override
    return f"{plain['key']}={QuotedString(plain['value'], Quote.double).with_quotes()}"


def _is_readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except (HydraException, ValueError):
        return False
    return True


def main_groups() -> list[str]:
    """Return the groups in the defaults of the main file."""
    main = OmegaConf.to_container(OmegaConf.load(config_folder() / "config.yaml"), resolve=False)
    defaults = main["defaults"] if isinstance(main, Mapping) else []
    return [str(group) for entry in defaults if isinstance(entry, Mapping) for group in entry]


def search_folder(given: Path) -> Path:
    """Return a folder of a search path, absolute; ``~`` is the home where no folder has that name."""
    try:
        folder = given if given.is_dir() else given.expanduser()
    except RuntimeError:
        folder = given  # ~somebody who is not known here
    if folder.is_dir():
        return folder.resolve()
    above = folder.resolve().parent
    beside = sorted(p.name for p in above.iterdir() if p.is_dir()) if above.is_dir() else []
    near = closest(folder.name, beside)
    what = f"The configuration folder {'is a file' if folder.exists() else 'does not exist'}."
    expected = "a folder with groups like conf/, such as FOLDER/model/mine.yaml"
    hint = f"in {above}: {near}" if near else "`bench new model mine` writes one"
    raise ConfigError(what, where="--config-dir", got=str(given), expected=expected, hint=hint)


def group_options(group: str, search_path: Sequence[Path] = ()) -> list[str]:
    """Return the choices of a group in all folders, sorted; empty for what is no group."""
    folders = [folder / group for folder in (config_folder(), *search_path)]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml") if path.is_file()})


def known_keys() -> list[str]:
    """Return every dotted key of the main configuration, sorted."""
    with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
        tree = OmegaConf.to_container(compose("config"), resolve=False)
    return sorted(key for key, _ in walk(tree) if key and "[" not in key)

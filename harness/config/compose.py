"""Hydra composes the configuration tree with a command's overrides; the values of those that sweep."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import random
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config.instantiate import hints_of, keys_of, locate, record_of
from harness.config.records import ExperimentConfig, parse
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.errors.extras import missing_extra
from harness.errors.redaction import redacted
from harness.store.files import HYDRA, config_folder, search_folder
from harness.store.records import TARGET, join_key, walk

MAIN = "config"  # the main file
_EVERY_KEY = "`bench config --describe` prints every key"
# More cells than anybody runs; a range with a slip in it would fill the memory.
_MOST = 100_000
_LONGEST = 200  # characters of a text that a message shows
# A plain value that ends an override: what has a meaning in Hydra's grammar is no part of it.
_PLAIN = re.compile(r"(?P<key>\+{0,2}[\w./@:\-]+)=(?P<value>(?! )[^\t\r\n'\"\\\[\]{}(),$]+(?<! ))")
# The extra that a choice of Hydra's needs.
_EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "submitit",
    "hydra/launcher=submitit_slurm": "submitit",
}
# `shuffle` gives one order, the same every time.
_SHUFFLED = 43


class Composer:
    """Composes many configurations: Hydra does the work once for all that differ in values of existing keys only.

    Args:
        search_path: Folders outside this project that hold further configuration groups.
        opened: Composes overrides, see `with_choices`; by default the main file and the folders.
    """

    def __init__(
        self, search_path: Sequence[str | Path] = (), opened: Callable[[Sequence[str]], DictConfig] | None = None
    ) -> None:
        self._given = tuple(search_path)
        self._folders = [search_folder(Path(folder)) for folder in self._given]
        self._opened = opened or (lambda overrides: _compose(overrides, self._folders))
        self._trees: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}

    def __call__(self, overrides: Sequence[str] = ()) -> ExperimentConfig:
        """Return the configuration of Hydra override texts, as `compose_config` does."""
        composed = self.tree(overrides)
        folders = [argument for folder in self._given for argument in ("--config-dir", str(folder))]
        composed["command"] = [redacted(text) for text in (*folders, *overrides)]
        return parse(composed)

    def options(self, group: str) -> list[str]:
        """Return the choices of a group, those of the search path too; empty for what is no group."""
        return group_options(group, self._folders)

    def tree(self, overrides: Sequence[str]) -> DictConfig:
        """Return the composed tree, references not yet resolved."""
        read = read_overrides(overrides)
        for override in read:
            _refuse_foreign(override)
        lines = [str(o.input_line) for o in read]
        shared = [o for o in read if not is_change(o)]
        if any(isinstance(o.value(), Mapping) for o in shared):
            tree, _ = self._open(lines)  # a whole subtree: what is changed in it before and after differs
        else:
            tree, _ = self._open([str(o.input_line) for o in shared])
            # Which other keys exist depends on the class.
            changes = sorted(filter(is_change, read), key=lambda o: not o.key_or_group.endswith(f".{TARGET}"))
            if not all(_changed(tree, change) for change in changes):
                tree, _ = self._open(lines)  # Hydra says what is wrong
        for deleted in read:
            refuse_default(tree, deleted)
        return tree

    def hydra_of(self, overrides: Sequence[str]) -> DictConfig:
        """Return Hydra's own settings in the files that are chosen; nobody changes them."""
        return self._open([str(o.input_line) for o in read_overrides(overrides) if not is_change(o)])[1]

    def axes(self, overrides: Sequence[str]) -> dict[str, str]:
        """Return ``hydra.sweeper.params`` of the files that are chosen: key → values as text."""
        params = OmegaConf.select(self.hydra_of(overrides), "sweeper.params")
        return {} if params is None else {str(key): str(value) for key, value in params.items()}

    def _open(self, overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
        """Return the tree of some overrides, a copy, and Hydra's own settings beside it."""
        key = tuple(overrides)
        if key not in self._trees:
            tree = self._opened(overrides)
            self._trees[key] = tree, tree.pop("hydra")
        tree, hydra = self._trees[key]
        return copy.deepcopy(tree), hydra


@dataclass(frozen=True)
class _Place:
    """What stands at a key of a tree: the keys of its class, those that it holds, and whether it takes any name."""

    fields: dict[str, inspect.Parameter]
    written: tuple[str, ...]
    is_free: bool


def _place_of(tree: DictConfig, path: str) -> _Place | None:
    """Return what stands at the dotted `path`; None where the tree holds no mapping, or its class cannot be found."""
    cls: type | None = ExperimentConfig
    node: Any = tree
    for part in path.split(".") if path else ():
        try:
            node = OmegaConf.select(node, part)
            if not isinstance(node, DictConfig):
                return None
            target = OmegaConf.select(node, TARGET)
            hint = Any if cls is None else hints_of(cls).get(part, Any)
            cls = record_of(hint) if target is None else locate(target, TARGET)
        except (OmegaConfBaseException, ConfigError):
            return None  # construction says what is wrong with it
    return _Place({} if cls is None else keys_of(cls), tuple(map(str, node)), is_free=cls is None)


def _refuse_foreign(override: Override) -> None:
    """Refuse several values where one is wanted, and the settings of Hydra's own."""
    key, line = override.key_or_group, str(override.input_line)
    if re.split(r"[./@]", key, maxsplit=1)[0] in (HYDRA, "choices"):
        what, expected = f"`{key}` changes nothing here.", "a key that `bench config` prints"
        hint = "`bench run` is the Hydra application; what composes a configuration alone runs no job"
        raise UnknownKeyError(what, where=key, got=line, expected=expected, hint=hint)
    refuse_sweep(override)


def refuse_sweep(override: Override) -> None:
    """Refuse several values where one is wanted."""
    if override.is_sweep_override():
        key, line = override.get_key_element(), str(override.input_line)
        what, expected = f"`{key}` has several values, which makes a sweep.", f"one value, or a list {key}=[…]"
        text = f"""{key}='"{line.partition("=")[2]}"'"""
        hint = f"`bench run -m {shlex.quote(line)}` runs one after the other; a text with a comma is {text}"
        raise ConfigError(what, where=key.lstrip("+~"), got=line, expected=expected, hint=hint)


def is_change(override: Override) -> bool:
    """Return whether it gives a key that exists another value, so that it does not decide what else is composed."""
    key = override.key_or_group
    is_plain = not (override.is_add() or override.is_delete() or override.is_sweep_override())
    is_plain = is_plain and not override.is_hydra_override()
    return is_plain and override.package is None and "." in key and "/" not in key


def _changed(tree: DictConfig, change: Override) -> bool:
    """Give a key another value, also one that its file leaves out; False where Hydra has to look at it."""
    key = change.key_or_group
    parent, _, name = key.rpartition(".")
    place = _place_of(tree, parent)
    if place is not None and name not in (*place.written, *place.fields):
        raise _unknown_at(place, key, str(change.input_line))
    above, _, last = parent.rpartition(".")
    around = None if place is not None else _place_of(tree, above)
    if around is not None and last in around.written and OmegaConf.select(tree, parent) is None:
        group, value = key.partition(".")[0], str(change.input_line).partition("=")[2]
        choices, what = ", ".join(group_options(group)), f"There is no configuration key `{key}`: `{parent}` is null."
        expected = f"{parent}={{{name}: {value}}}, or another choice of {group}: {choices}"
        raise UnknownKeyError(what, where=key, got=change.input_line, expected=expected, hint=_EVERY_KEY)
    try:
        OmegaConf.set_struct(tree, True)
        OmegaConf.update(tree, key, change.value(), merge=True, force_add=place is not None)
    except OmegaConfBaseException:
        return False
    finally:
        OmegaConf.set_struct(tree, False)
    return True


def refuse_default(tree: DictConfig, override: Override) -> None:
    """Refuse to delete the key of a class that would then silently have its default."""
    parent, _, name = override.key_or_group.rpartition(".")
    place = _place_of(tree, parent) if override.is_delete() and parent else None
    if place is None or name not in place.fields:
        return
    default = place.fields[name].default
    value = "its default" if default is inspect.Parameter.empty else f"its default, {default!r}"
    key = override.key_or_group
    what = f"`{key}` cannot be deleted: it belongs to its class, and would silently have {value}."
    hint = f"{key}=VALUE; a name in a mapping, such as '~data.columns.factor', can be deleted"
    raise ConfigError(what, where=key, got=override.input_line, expected="the value that is meant", hint=hint)


def compose_config(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> ExperimentConfig:
    """Compose the configuration tree with Hydra overrides and return it typed and checked.

    Args:
        overrides: Hydra override texts, such as ``windows.step=40`` or ``model=lightgbm``.
        search_path: Folders outside this project that hold further configuration groups.

    Raises:
        ConfigError: Names the key, the value and what would be accepted.
    """
    return Composer(search_path)(overrides)


def composed_yaml(overrides: Sequence[str] = (), *, search_path: Sequence[str | Path] = ()) -> str:
    """Return the composed configuration as YAML, references resolved; what `compose_config` would read."""
    composed = Composer(search_path).tree(overrides)
    del composed["choices"]
    return OmegaConf.to_yaml(composed, resolve=True)


def _compose(overrides: Sequence[str], search_path: Sequence[Path]) -> DictConfig:
    quoted = ",".join(QuotedString(f"file://{path}", Quote.double).with_quotes() for path in search_path)
    extra = [f"hydra.searchpath=[{quoted}]"] if search_path else []
    with composing(overrides, partial(group_options, search_path=search_path)), _initialized():
        composed = compose(MAIN, overrides=[*extra, *overrides], return_hydra_config=True)
        return with_choices(composed, composed.hydra.runtime.choices)


@contextmanager
def _initialized() -> Iterator[None]:
    """Let Hydra compose from our folder, also inside a job that it runs."""
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = running


def with_choices(composed: DictConfig, choices: Mapping[Any, object]) -> DictConfig:
    """Return a composed tree, open to changes, with the choices of its groups; Hydra's own are not among them."""
    OmegaConf.set_readonly(composed, False)
    OmegaConf.set_struct(composed, False)
    composed["choices"] = {k: str(v) for k, v in choices.items() if "/" not in k and k != HYDRA}
    return composed


@contextmanager
def composing(overrides: Sequence[str], options: Callable[[str], list[str]]) -> Iterator[None]:
    """Say of what Hydra cannot compose inside what is wrong; `options` gives the choices of a group."""
    try:
        yield
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.name}, line {mark.line + 1}" if mark else getattr(error, "name", None)
        what, got = "is not YAML", getattr(error, "problem", None) or getattr(error, "reason", None)
        expected = "KEY: VALUE lines in UTF-8, nested by spaces"
        raise _bad_file(what, place, got or _first_line(error), expected) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a number of thousands of digits
        raise _not_composed(error, overrides, options) from error
    except RecursionError as error:
        expected = "defaults and aliases (*name) that do not lead back to their own file or value"
        raise _bad_file("contains itself, or is nested without end", None, None, expected) from error
    except OSError as error:
        if error.errno is not None:
            raise
        # OmegaConf's word for a file that is a number.
        raise _bad_file("is no mapping", None, _first_line(error), "KEY: VALUE lines") from error


def _bad_file(what: str, where: str | None, got: str | None, expected: str, hint: str | None = None) -> ConfigError:
    what, where = f"A configuration file {what}.", where or "a configuration file"
    return ConfigError(what, where=where, got=got, expected=expected, hint=hint)


def _not_composed(error: Exception, overrides: Sequence[str], options_of: Callable[[str], list[str]]) -> ConfigError:
    """Return the error for overrides that Hydra cannot compose: a choice, a file or a key that does not exist."""
    text, cause = str(error), str(error.__cause__ or "")
    group = re.search(r"Could not find '([^']+)/([^'/]*)'", text)
    if group:
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE) or options_of(group[1])
        if (extra := _EXTRAS.get(f"{group[1]}={group[2]}")) is not None:
            return missing_extra(f"`{group[1]}={group[2]}`", extra, group[1])
        return _no_choice(group[1], group[2], options, "", closest(group[2], options))
    if text.startswith("Config group override must be"):  # a number, a truth value or null
        for override in parse_overrides(overrides):
            key, value = override.key_or_group, str(override.input_line).partition("=")[2]
            options = options_of(key)
            if options and not isinstance(override.value(), str | list | Mapping):
                hint = "`none` is the choice for nothing" if "none" in options else None
                as_text = f"{key}=\"'{value}'\" makes it text" if value in options else hint
                return _no_choice(key, value, options, ": it is no text", as_text)
    if primary := re.search(r"Cannot find primary config '([^']+)'", text):
        what, known = (
            "There is no such main file on the search path.",
            [name for name in options_of("") if name[0] != "_"],
        )
        hint = closest(primary[1], known) or "--config-dir FOLDER adds a folder to the search path"
        return ConfigError(what, where="--config-name", got=primary[1], expected=", ".join(known), hint=hint)
    if text.startswith("In '"):
        hint = "`# @package _global_` must be the first line of such a file" if "@experiment" in text else None
        expected = "a defaults list of groups and choices that exist"
        return _bad_file("cannot be composed", text.split("'")[1], _first_line(error), expected, hint)
    there = re.search(r"An item is already at '([^']+)'", text) or re.search(r"'([^']+)' is already", text)
    if there:
        given = next((o for o in overrides if o.startswith(f"+{there[1]}")), there[1])
        what, change = f"`{there[1]}` is there already, so it cannot be added.", given.lstrip("+")
        return ConfigError(what, where=there[1], got=given, expected=change, hint=f"{change} changes it")
    if re.search(r"Key '([^']+)' is not in struct", cause) or "Could not" in text:
        full = re.search(r"full_key: (\S+)", cause) or re.search(r"'([^']+)'", text)
        name = full[1] if full else ""
        known = hydra_keys() if name.startswith("hydra.") else known_keys()
        siblings = [k for k in known if k.rpartition(".")[0] == name.rpartition(".")[0]]
        given = next((o for o in overrides if o.lstrip("+~").startswith(name)), name)
        if given.startswith("~") and name in known:
            what = f"`{name}` is null: there is nothing to delete."
            return ConfigError(what, where=name, got=given, expected="a name that has a value")
        own, choice = name.partition("@")[0], given.partition("=")[2]
        if given.startswith("~") and "=" in name:
            key, _, other = name.partition("=")
            what = f"`{key}` is not `{other}`, so there is nothing to delete."
            return ConfigError(what, where=key, got=given, expected=f"~{key}, or with the choice that it has")
        if name and (options := options_of(own)):
            adds = f"did you mean `+{given}`, which adds the group?" if choice in options else None
            return _unknown(name, given, siblings, adds or f"+{name}=CHOICE adds the group: {', '.join(options)}")
        return _unknown(name, given, siblings, closest(name, siblings) or closest(name, known))
    return unreadable(overrides, error)


def _no_choice(group: str, choice: str, options: Sequence[str], why: str, hint: str | None) -> ConfigError:
    what = f"There is no `{choice}` in the group `{group}`{why}."
    return ConfigError(what, where=group, got=choice, expected=", ".join(options), hint=hint)


def _unknown_at(place: _Place, name: str, given: str) -> UnknownKeyError:
    """Return the error for a key that does not exist at its place; `given` is the override."""
    parent, _, own = name.rpartition(".")
    names = list(dict.fromkeys([*place.fields, *(key for key in place.written if key != TARGET)]))
    siblings = [join_key(parent, key) for key in names]
    near = closest(name, siblings) or closest(own, names)
    adds = f"+{given.lstrip('+')} adds it, as names are free here"
    return _unknown(name, given, siblings, f"{near or ''} {adds}".lstrip() if place.is_free else near)


def _unknown(name: str, given: str, siblings: Sequence[str], hint: str | None) -> UnknownKeyError:
    expected = ", ".join(siblings) or "a key that exists, or +KEY=VALUE for a new one"
    what = f"There is no configuration key `{name}`."
    return UnknownKeyError(what, where=name, got=given, expected=expected, hint=hint or _EVERY_KEY)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Return the overrides as Hydra reads them; a plain value that its grammar cannot read is text, as ``~/prices``."""
    if any(text.startswith("=") for text in overrides):
        raise unreadable(overrides, ValueError("nothing stands before the ="))
    parser = OverridesParser.create()
    with suppress(HydraException, ValueError):
        return parser.parse_overrides(list(overrides))
    try:
        return parser.parse_overrides([_as_text(text) for text in overrides])
    except (HydraException, ValueError) as error:  # ValueError: of a number that has thousands of digits
        raise unreadable(overrides, error) from error


def read_overrides(overrides: Sequence[str]) -> list[Override]:
    """Return the overrides, ``+GROUP=CHOICE`` as ``GROUP=CHOICE`` where the main file's defaults have the group."""

    def plain(override: Override) -> Override:
        is_group = override.is_add() and override.package is None and override.key_or_group in main_groups()
        return parse_overrides([str(override.input_line).lstrip("+")])[0] if is_group else override

    return [plain(override) for override in parse_overrides(overrides)]


def last_of_each_key(overrides: Sequence[Override]) -> list[Override]:
    """Return the overrides that hold where a key is given several times: the last, as in one run, swept or not."""
    return list({override.get_key_element().lstrip("+~"): override for override in overrides}.values())


def swept_values(override: Override, options: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the values of an override that sweeps, as texts; `options` gives the files of a group for `glob(…)`."""
    swept: object = override.value()
    unlisted = partial(untaken, override, how="swept", hint="see `bench run --help`")
    if isinstance(swept, IntervalSweep):
        listed, search = "choice(A,B,…) or range(START,STOP,STEP)", "`bench search` tries values of an interval"
        raise unlisted("an interval has no list of values", listed, hint=search)
    if isinstance(swept, Glob):
        known = list(options(override.key_or_group))
        names = swept.filter(known)
        if not names:
            why = "no choice of the group fits" if known else "glob(…) chooses among the files of a group"
            expected = f"a pattern that fits one of {', '.join(known)}" if known else "GROUP=glob(PATTERN)"
            raise unlisted(why, expected)
        return names
    is_shuffled = isinstance(swept, ChoiceSweep | RangeSweep) and swept.shuffle
    if isinstance(swept, ChoiceSweep | RangeSweep):
        override = dataclasses.replace(override, _value=dataclasses.replace(swept, shuffle=False))
    if isinstance(swept, RangeSweep) and swept.step == 0:
        raise unlisted("steps of 0 lead nowhere", "range(START,STOP,STEP) with a STEP")
    values = [str(value) for value in itertools.islice(override.sweep_string_iterator(), _MOST + 1)]
    if not 0 < len(values) <= _MOST:
        why = f"there are more than {_MOST:,} values" if values else "the range is empty"
        raise unlisted(why, f"1 to {_MOST:,} values")
    if is_shuffled:
        random.Random(_SHUFFLED).shuffle(values)
    return values


def untaken(override: Override, why: str, expected: str, *, how: str, hint: str) -> ConfigError:
    """Return the error for an override that cannot be ``swept`` or ``searched``."""
    key, what = override.get_key_element().lstrip("+~"), f"This cannot be {how}: {why}."
    return ConfigError(what, where=key, got=override.input_line, expected=expected, hint=hint)


def unreadable(overrides: Sequence[str], error: Exception) -> ConfigError:
    """Return the error for overrides that Hydra cannot read; names the first one that it cannot."""
    wrong = next((text for text in overrides if not _is_readable(_as_text(text))), None)
    shown = " ".join(overrides) if wrong is None else wrong
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} …"
    key, _, value = (wrong or "").partition("=")
    quoted = f"{key}={QuotedString(value, Quote.double).with_quotes()}"
    helps = value and len(value) <= _LONGEST and not any(sign in value for sign in "'\"\n") and _is_readable(quoted)
    what, hint = "The command's overrides cannot be read.", f"if the value is text: '{quoted}'; " if helps else ""
    expected = "KEY=VALUE, GROUP=CHOICE, +NEW_KEY=VALUE or ~KEY; quote what the shell or Hydra would take apart"
    hint += "see `bench run --help`"
    return ConfigError(what, where=shown, got=_first_line(error), expected=expected, hint=hint)


def _as_text(override: str) -> str:
    """Return an override that Hydra cannot read with its value quoted, where it is plain; any other as it is."""
    plain = None if _is_readable(override) else _PLAIN.fullmatch(override)
    if plain is None:
        return override
    return f"{plain['key']}={QuotedString(plain['value'], Quote.double).with_quotes()}"


def _is_readable(override: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(override).key_or_group)
    except (HydraException, ValueError):
        return False


def main_groups() -> list[str]:
    """Return the groups in the defaults of the main file."""
    main = OmegaConf.load(config_folder() / "config.yaml")
    return [str(group) for entry in main.defaults if isinstance(entry, Mapping) for group in entry if group != HYDRA]


def group_options(group: str, search_path: Sequence[Path] = ()) -> list[str]:
    """Return the choices of a group in all folders, sorted; empty for what is no group."""
    folders = [folder / group for folder in (config_folder(), *search_path)]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml") if path.is_file()})


def known_keys() -> list[str]:
    """Return every dotted key of the main configuration, sorted."""
    with _initialized():
        tree = OmegaConf.to_container(compose(MAIN), resolve=False)
    return sorted(key for key, _ in walk(tree) if key and "[" not in key)


def hydra_keys() -> list[str]:
    """Return every dotted key of Hydra's own settings, sorted."""
    tree = {"hydra": OmegaConf.to_container(OmegaConf.structured(HydraConf), resolve=False)}
    return sorted(key for key, _ in walk(tree) if key and "[" not in key)

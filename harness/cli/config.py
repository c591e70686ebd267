"""`bench config`: what a command would run with, what each key means, and a schema for editors."""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from harness.cli.shared import OTHER_FOLDERS, Arguments, Commands, add_command, config_of, group_choices
from harness.cli.terminal import show
from harness.config import composed_yaml
from harness.config.schema import DescribedKey, describe_keys, experiment_schema, group_schema
from harness.errors import ConfigError, UnknownKeyError, closest
from harness.report.table import Table, prose, table
from harness.store.artifacts import canonical_json

_HELP = """\
Print the configuration that a command would run with, what its keys mean, or a JSON Schema of configuration files.

With a schema an editor completes keys, shows what they mean and marks mistakes while a YAML file is written:
`bench config --schema model > model.schema.json`, and as first line of the file
`# yaml-language-server: $schema=model.schema.json`.

examples:
  bench config model=lightgbm windows.step=40         the composed configuration, as YAML
  bench config --describe model model=lightgbm        each key below `model`: value, what it accepts, what it means
  bench config --schema model                         for FOLDER/model/NAME.yaml
  bench config --schema                               for files that change several groups, such as experiments

exit codes: 0 printed, 2 a mistake in the command or the configuration"""
_SEVERAL = "experiment"


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(groups, "config", "print the configuration, the meaning of its keys, or its schema", _HELP)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--describe",
        nargs="?",
        const="",
        metavar="KEY",
        help="value, accepted values and meaning of all keys (below KEY)",
    )
    what.add_argument(
        "--schema",
        nargs="?",
        const=_SEVERAL,
        metavar="GROUP",
        help="JSON Schema of the files of a group (or experiments)",
    )
    parser.add_argument("--json", action="store_true", help="print the configuration or the description as JSON")
    parser.set_defaults(command=config)


def config(arguments: Arguments, out: Console, err: Console) -> int:
    """Print what is asked for."""
    if arguments.schema is not None:
        schema = _schema(arguments.schema, arguments.config_dir)
        out.print(json.dumps(schema, indent=1, ensure_ascii=False), markup=False, soft_wrap=True)
        return 0
    if arguments.describe is None and not arguments.json:
        out.print(composed_yaml(arguments.overrides, search_path=arguments.config_dir), markup=False, end="")
        return 0
    tree = json.loads(config_of(arguments).composed)
    if arguments.describe is None:
        out.print(canonical_json(tree, indent=1), markup=False, soft_wrap=True, end="")
        return 0
    found = describe_keys(tree, arguments.describe)
    if not found:
        raise _unknown_key(arguments.describe, [k.key for k in describe_keys(tree)])
    if arguments.json:
        out.print(canonical_json([vars(k) for k in found], indent=1), markup=False, soft_wrap=True, end="")
    else:
        show(out, _table(found))
    return 0


def _schema(group: str, search_path: list[str]) -> dict[str, object]:
    known = (*group_choices(), *OTHER_FOLDERS)
    if group not in known:
        raise ConfigError(
            f"There is no configuration group `{group}`.",
            where="--schema",
            got=group,
            expected=", ".join(known),
            hint=closest(group, known) or "without GROUP: files that change several groups",
        )
    several = group in (_SEVERAL, "compat")
    return experiment_schema(search_path) if several else group_schema(group, search_path)


def _unknown_key(key: str, known: list[str]) -> UnknownKeyError:
    siblings = [k for k in known if k.rpartition(".")[0] == key.rpartition(".")[0]]
    return UnknownKeyError(
        f"There is no configuration key `{key}`.",
        where="--describe",
        got=key,
        expected=", ".join(siblings) or ", ".join(k for k in known if "." not in k),
        hint=closest(key, known),
    )


def _table(found: tuple[DescribedKey, ...]) -> Table:
    rows = []
    for key in found:
        value = key.value if isinstance(key.value, str) else json.dumps(key.value, ensure_ascii=False)
        rows.append((key.key, value, key.accepts, key.meaning))
    return table("", ("key", *prose("value", "accepts", "meaning")), rows)

"""How a command of `bench` is declared, and the options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Names and settings of an argument, in the words of `argparse.ArgumentParser.add_argument`.
Option = tuple[tuple[str, ...], dict[str, Any]]


def option(names: str, meaning: str, default: Any = None, **settings: Any) -> Option:
    """Return an option with a value, or without dashes a positional argument; its help ends with its default."""
    said = "" if default in (None, []) else f" (default: {default})"
    return tuple(names.split()), {"help": meaning + said, "default": default, **settings}


def flag(names: str, meaning: str, **settings: Any) -> Option:
    """Return an option without a value."""
    return tuple(names.split()), {"help": meaning, "action": "store_true", **settings}


def config_dir(holds: str) -> Option:
    """Return the option that adds a folder to the search path of configurations."""
    return option("--config-dir", f"a folder with your own {holds}", [], action="append", metavar="FOLDER")


@dataclass(frozen=True)
class Command:
    """A command of `bench`.

    Attributes:
        name: What a user types, such as ``run`` or ``data info``.
        summary: One line for the list of commands.
        function: ``module:function`` in this package: (arguments, out, err) → exit code. It is imported when the
            command runs and not before, because most need libraries that take a second to load.
        text: Teaches it, and shows examples.
        exits: What its exit codes mean.
        options: What it takes.
        exclusive: Options of which only one can be given.
        is_long: Whether its loading is shown as a stage.
    """

    name: str
    summary: str
    function: str
    text: str
    exits: str
    options: tuple[Option, ...]
    exclusive: tuple[Option, ...] = ()
    is_long: bool = False


# Of a command that composes a configuration.
OVERRIDES = option("overrides", "Hydra overrides, see below", nargs="*", metavar="KEY=VALUE")
CONFIGURED = (OVERRIDES, config_dir("configuration groups"))
JSON = flag("--json", "print JSON instead of text")
VERDICTS_AS_JSON = flag("--json", "print the verdicts as JSON instead of tables")
EVERY_METRIC = flag("--all", "show every metric, not only findings")
DO_IT = flag("--yes", "do it instead of saying what would be done")
FOLDERS = option("folders", "a sweep's or a run's folder", nargs="*", metavar="FOLDER")
REFERENCE = option("--reference", "the cell to compare the others with", metavar="CELL")
STAGE = option("--stage", "only this stage; may be given again", action="append", metavar="NAME")
RESULTS = option("--results", "folder of the baselines", "results", metavar="FOLDER")
# Which cases are meant, and what they are held to.
SELECTION = (
    option(
        "targets",
        "a suite (smoke, or a path ending in .yaml), a case (linear, or smoke/linear), a run's folder or snapshot.json,"
        " or KEY=VALUE for every case (output.store=FOLDER)",
        nargs="*",
        metavar="TARGET",
    ),
    RESULTS,
    option("--as", "take one run's folder for this case", dest="name", metavar="SUITE/CASE"),
    option("--regression", "tolerances instead of the suite's: a name or a path ending in .yaml", metavar="NAME"),
    config_dir("configuration groups, suites/ and regression/"),
)
LOUDNESS = (
    flag("-v --verbose", "also tell the seconds of every stage, and causes of errors", action="count", default=0),
    flag("-q --quiet", "print only the result and errors: no progress, no notes", action="count", default=0),
)
INTERRUPTED = "130 interrupted (143 by SIGTERM, 129 by SIGHUP)"
FINE = "0 fine, 2 a mistake in the command"
VERDICTS = (
    "0 fine, 1 regression (a crash, a leak, missing and orphaned baselines too), 2 a mistake of the user (damaged "
    f"baselines too), 3 not comparable, {INTERRUPTED}"
)

"""How a command of `bench` is declared, what it answers, and the options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

    from harness.report.table import Table

# Names and settings of an argument, in the words of `argparse.ArgumentParser.add_argument`.
Option = tuple[tuple[str, ...], dict[str, Any]]


def option(names: str, meaning: str, default: Any = None, **settings: Any) -> Option:
    """Return an option with a value, such as ``--sort-by METRIC``, or without dashes a positional argument.

    Its help ends with its default.
    """
    *before, last = names.split()
    if before and not last.startswith("-"):
        settings["metavar"] = last
    else:
        before.append(last)
    said = "" if default in (None, []) else f" (default: {default})"
    return tuple(before), {"help": meaning + said, "default": default, **settings}


def flag(names: str, meaning: str, **settings: Any) -> Option:
    return tuple(names.split()), {"help": meaning, "action": "store_true", **settings}


def config_dir(holds: str) -> Option:
    return option("-cd --config-dir FOLDER", f"a folder with your own {holds}", [], action="append")


@dataclass(frozen=True)
class Command:
    """A command of `bench`."""

    name: str
    # ``module:function`` in this package: (arguments, observer) → answer. It is imported when the command runs and
    # not before, because most need libraries that take a second to load.
    function: str
    # teaches it, and shows examples; what comes before its first full stop or colon stands in the list of commands
    text: str
    options: tuple[Option, ...]
    exclusive: tuple[Option, ...] = ()  # options of which only one can be given
    exits: str = "0 fine, 2 a mistake in the command or in what it reads"
    is_long: bool = False  # whether its loading is shown as a stage

    @property
    def summary(self) -> str:
        words = re.split(r"[.:]\s", self.text, maxsplit=1)[0].split()
        return " ".join([words[0].lower(), *words[1:]])


@dataclass(frozen=True)
class Answer:
    """What a command has found; it is printed when the command has ended."""

    # for people: tables and lines; None where there is only the record
    shown: Sequence[Table | Text | str] | None = None
    # for programs: data that is printed as JSON, a text as it stands, or what returns either when it is asked for
    record: object | Callable[[], object] = None
    code: int = 0  # the exit code
    # notes, errors: lines for standard error
    notes: Sequence[str] = ()
    errors: Sequence[object] = ()


# Of a command that composes a configuration.
OVERRIDES = option("overrides KEY=VALUE", "Hydra overrides, see below", nargs="*")
CONFIGURED = (OVERRIDES, config_dir("configuration groups"))
# Of Hydra's own command line.
SHOWN = ("job", "hydra", "all")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
HYDRA = (
    flag("-r --run", "run one job, as without it"),
    option("-cn --config-name NAME", "another main file than config"),
    option("-cp --config-path FOLDER", "another main folder than conf/"),
    option("-c --cfg WHAT", f"print the composed configuration and stop: {', '.join(SHOWN)}", nargs="?", const=""),
    option("-p --package KEY", "with --cfg: only what stands below a key"),
    flag("--resolve", "with --cfg: references replaced by their values, as --cfg alone prints them"),
    option(
        "-i --info WHAT",
        f"print what Hydra knows and stop: {', '.join(INFO)}",
        nargs="?",
        const="",
    ),
    flag("--hydra-help", "print Hydra's own help"),
    flag("-sc --shell-completion", "install=SHELL, uninstall=SHELL, query=SHELL: completion by Hydra"),
)
JSON = flag("--json", "print JSON instead of text")
VERDICTS_AS_JSON = flag("--json", "print the verdicts as JSON instead of tables")
EVERY_METRIC = flag("--all", "show every metric, not only findings")
DO_IT = flag("--yes", "do it instead of saying what would be done")
FOLDERS = option("folders FOLDER", "of a sweep or a run (default: the newest sweep under runs, or all runs)", nargs="*")
REFERENCE = option("--reference CELL", "the cell to compare the others with")
STAGE = option("--stage NAME", "only this stage; may be given again", action="append")
RESULTS = option("--results FOLDER", "folder of the baselines", "results")
# Which cases are meant, and what they are held to.
SELECTION = (
    option(
        "targets TARGET",
        "a suite (smoke, or a path ending in .yaml), a case (linear, or smoke/linear), a run's folder or snapshot.json,"
        " or KEY=VALUE for every case (output.store=FOLDER)",
        nargs="*",
    ),
    RESULTS,
    option("--as SUITE/CASE", "take one run's folder for this case", dest="name"),
    option("--regression NAME", "tolerances instead of the suite's: a name or a path ending in .yaml"),
    config_dir("configuration groups, suites/ and regression/"),
)
LOUDNESS = (
    flag("-v --verbose", "also print the seconds of every stage, and causes of errors", action="count", default=0),
    flag("-q --quiet", "print only the result and errors: no progress, no notes", action="count", default=0),
)
INTERRUPTED = "130 interrupted (143 by SIGTERM, 129 by SIGHUP)"
VERDICTS = (
    "0 fine, 1 regression (a crash, a leak, missing and orphaned baselines too), 2 a mistake of the user (damaged "
    f"baselines too), 3 not comparable, {INTERRUPTED}"
)

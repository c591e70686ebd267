"""`bench new`: a working beginning of a model, an adaptation, a source or a metric of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from harness.cli.shared import Arguments, Commands
from harness.integrations.skeletons import KINDS, write_skeleton

_HELP = """\
Write a working model, adaptation, data source or metric: one Python file with a class, the YAML file that names it, and
a test that passes. Then change what it does.

examples:
  bench new model my_model
  bench new data my_data --folder research
  bench new metric my_metric

exit codes: 0 written, 2 a name that cannot be used or is taken"""


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "new",
        help="write a model, adaptation, source or metric to begin with",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=tuple(KINDS), help="what to write")
    parser.add_argument("name", metavar="NAME", help="name of the module, such as my_model")
    parser.add_argument("--folder", default=".", metavar="FOLDER", help="where to write it (default: here)")
    parser.set_defaults(command=new)


def new(arguments: Arguments, out: Console, err: Console) -> int:
    """Write the skeleton, and say what to do with it."""
    written = write_skeleton(arguments.kind, arguments.name, Path(arguments.folder))
    for path in written.files:
        out.print(f"written   {path}", markup=False, soft_wrap=True)
    out.print(f"test      python -m pytest {written.test}", markup=False, soft_wrap=True)
    out.print(f"run       {written.command}", markup=False, soft_wrap=True)
    return 0

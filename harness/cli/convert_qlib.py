"""`bench convert-qlib`: a workflow file of qlib as an experiment of ours."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from rich.console import Console

from harness.cli.shared import Arguments, Commands
from harness.errors import ConfigError
from harness.integrations.qlib_workflow import check_composes, read_workflow, translate
from harness.store.files import write_atomically

_HELP = """\
Turn a workflow file of qlib's rolling benchmarks into an experiment: data folder, features, processors, label, windows,
model and portfolio. What has no counterpart is named, in the file and on the screen; nothing is dropped silently.

examples:
  bench convert-qlib workflow_config_linear_Alpha158.yaml
  bench convert-qlib workflow.yaml --horizon 20 --step 20 --out my_conf/experiment/from_qlib.yaml
  bench convert-qlib workflow.yaml --as-is               one fit and the file's own label, as qrun runs it
  bench run --config-dir my_conf experiment=from_qlib

exit codes: 0 translated, 2 a file that is no workflow, or something without a counterpart"""

# Horizon and step of qlib's rolling command.
_ROLLING = 20


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "convert-qlib",
        help="turn a workflow file of qlib into an experiment",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workflow", metavar="FILE", help="qlib's YAML file")
    parser.add_argument(
        "--horizon", type=int, metavar="N", help=f"the label's horizon, as in qlib's rolling (default: {_ROLLING})"
    )
    parser.add_argument(
        "--step", type=int, metavar="N", help=f"periods (trading days) per test segment (default: {_ROLLING})"
    )
    parser.add_argument(
        "--as-is", action="store_true", help="take the file as it stands: one fit, its own label (no --horizon, --step)"
    )
    parser.add_argument("--as-qlib", action="store_true", help="keep qlib's rules where ours are stricter")
    parser.add_argument("--out", metavar="FILE", help="write the experiment there instead of printing it")
    parser.set_defaults(command=convert_qlib)


def convert_qlib(arguments: Arguments, out: Console, err: Console) -> int:
    """Translate, then print or write."""
    for name, value in (("--horizon", arguments.horizon), ("--step", arguments.step)):
        if arguments.as_is and value is not None:
            raise ConfigError(
                f"`{name}` has no meaning beside `--as-is`.", where=name, got=value, expected="one of the two"
            )
    workflow = read_workflow(Path(arguments.workflow))
    found = translate(
        workflow,
        horizon=_ROLLING if arguments.horizon is None else arguments.horizon,
        step=_ROLLING if arguments.step is None else arguments.step,
        as_qlib=arguments.as_qlib,
        as_is=arguments.as_is,
    )
    check_composes(found)
    for note in found.notes:
        err.print(f"not carried over: {note}", style="yellow", markup=False, soft_wrap=True)
    if arguments.out is None:
        out.print(found.to_yaml(), markup=False, soft_wrap=True, end="")
        return 0
    path = Path(arguments.out)
    if path.exists():
        raise ConfigError(
            "The file is there already, and stays as it is.",
            where="--out",
            got=str(path),
            expected="a name that is not taken",
            hint="remove it, or choose another",
        )
    write_atomically(path, found.to_yaml().encode())
    out.print(f"written   {path}", markup=False, soft_wrap=True)
    if path.parent.name == "experiment":
        command = shlex.join(["bench", "run", "--config-dir", str(path.parent.parent), f"experiment={path.stem}"])
        out.print(f"run       {command}", markup=False, soft_wrap=True)
    return 0

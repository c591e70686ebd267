"""The arguments of `bench run`, apart from what runs it: its help must not wait for the libraries."""

from __future__ import annotations

import argparse

from rich.console import Console

from harness.cli.shared import Arguments, Commands, add_command

_HELP = """\
Run one experiment and leave its snapshot.

The past of each window is cut where its labels are no longer known (the purge), the model is fitted on it, and the
window's test segment is predicted. The predictions of all windows are judged together. Running the same command again
gives the same snapshot, byte for byte but for its provenance, and takes seconds: finished stages are reused.

examples:
  bench run data=cn_csi300 model=linear windows.step=20 label.horizon=20
  bench run model.alpha=1 windows=sliding windows.embargo=5
  bench run data=tabular data.path=my.parquet data.columns.time=date
  bench run --config-dir my_conf model=my_model
  bench run -m model=linear,lightgbm windows.step=20,40      sweeps every combination
  bench run audit=sampled                                    and audits it: see `bench audit --help`

A cell of a sweep that a rule refuses (too little history, weights that the model cannot use) is reported and spoils
nothing, unless all are refused.

exit codes: 0 fine, 1 a leak or a failed cell, 2 a mistake in the command, the data or a cell, or no cell that is not
refused, 130 interrupted (143 by SIGTERM, 129 by SIGHUP)"""


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(groups, "run", "run an experiment: prices in, metrics and a snapshot out", _HELP)
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="sweep: run every combination of KEY=A,B,… values"
    )
    parser.add_argument("--plan", action="store_true", help="with -m: print the cells and stop")
    parser.add_argument(
        "--sort-by",
        default="rank_IC",
        metavar="METRIC",
        help="with -m: the metric that orders the table (default: rank_IC)",
    )
    parser.add_argument(
        "--reference",
        metavar="CELL",
        help="with -m: the cell that the others are tested against (default: the first with rolling_retrain)",
    )
    parser.add_argument("--cfg", action="store_true", help="print the composed configuration and stop")
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    parser.set_defaults(command=_run)


def _run(arguments: Arguments, out: Console, err: Console) -> int:
    from harness.cli.progress import ProgressObserver
    from harness.execution.progress import telling

    with ProgressObserver(err) as observer, telling(observer, "loading"):
        from harness.cli.run import run
    return run(arguments, out, err)

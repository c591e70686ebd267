"""`bench track push`: send runs and sweeps to MLflow that it does not hold yet."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console

from harness.cli.progress import ProgressObserver
from harness.cli.shared import Arguments, Commands
from harness.errors import DataError
from harness.integrations.tracking import Mlflow, all_folders
from harness.store.artifacts import canonical_json

_HELP = """\
Send runs and sweeps to MLflow that it does not hold yet: those of before, and those that were made while the server was
down. A sweep becomes a parent run, its cells child runs. What is there already is not sent twice.

Without a folder it takes every sweep under `runs`, and every run that belongs to none.

examples:
  bench track push
  bench track push runs/sweep-0123456789ab --uri http://127.0.0.1:5000 --experiment drift

exit codes: 0 everything is there, 1 something could not be sent, 2 a mistake in the command or the folders"""


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command with its action."""
    parser = groups.add_parser("track", help="send runs and sweeps to MLflow")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    action = actions.add_parser(
        "push",
        help="send what was missed",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action.add_argument("folders", nargs="*", metavar="FOLDER", help="a sweep's or a run's folder")
    action.add_argument(
        "--uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or None,
        help="of the server or database (default: MLFLOW_TRACKING_URI, or the file mlflow.db beside the runs)",
    )
    action.add_argument("--experiment", default=Mlflow.experiment, metavar="NAME", help="MLflow's experiment")
    action.add_argument("--json", action="store_true", help="print JSON")
    action.set_defaults(command=push)


def push(arguments: Arguments, out: Console, err: Console) -> int:
    """Send what is missing, and say with the exit code whether everything is there now."""
    sink = Mlflow(arguments.uri, arguments.experiment)
    sink.check()
    folders = [Path(folder) for folder in arguments.folders]
    absent = next((folder for folder in folders if not folder.is_dir()), None)
    if absent is not None:
        raise DataError("There is no such folder.", where="FOLDER", got=str(absent), expected="a run's or a sweep's")
    folders = folders or all_folders(Path("runs"))
    with ProgressObserver(err) as observer:
        done = sink.push(folders, folders[0].resolve().parent, observer)
        for folder, reason in done.missed.items():
            observer.notice(f"{folder}: {reason}")
    if arguments.json:
        missed = {str(folder): reason for folder, reason in done.missed.items()}
        record = {"sent": done.sent, "present": done.present, "missed": missed}
        out.print(canonical_json(record, indent=1), markup=False, soft_wrap=True, end="")
    else:
        counts = f"{done.sent} sent, {done.present} there already, {len(done.missed)} missed"
        out.print(counts, markup=False, soft_wrap=True)
    return 1 if done.missed else 0

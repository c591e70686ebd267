"""What ties the harness to other tools: `bench track push`, `bench convert-qlib`, and `bench new`."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from pathlib import Path

from harness.cli.progress import progress
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.errors import ConfigError, DataError
from harness.store.files import write_atomically


def push(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    from harness.integrations.tracking import Mlflow, all_folders

    sink = Mlflow(arguments.uri or os.environ.get("MLFLOW_TRACKING_URI") or None, arguments.experiment)
    sink.check()
    folders = [Path(folder) for folder in arguments.folders]
    for absent in (folder for folder in folders if not folder.is_dir()):
        raise DataError("There is no such folder.", where="FOLDER", got=str(absent), expected="a run's or a sweep's")
    folders = folders or all_folders(Path("runs"))
    with progress(err) as observer:
        done = sink.push(folders, folders[0].resolve().parent, observer)
        for folder, reason in done.missed.items():
            observer.notice(f"{folder}: {reason}")
    missed = {str(folder): reason for folder, reason in done.missed.items()}
    if arguments.json:
        out.write_json({"sent": done.sent, "present": done.present, "missed": missed})
    else:
        out.write(f"{done.sent} sent, {done.present} there already, {len(done.missed)} missed")
    return 1 if done.missed else 0


def new(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    from harness.integrations.skeletons import write_skeleton

    files, command = write_skeleton(arguments.kind, arguments.name, Path(arguments.folder))
    lines = [f"written   {path}" for path in files]
    out.write("\n".join([*lines, f"test      python -m pytest {files[-1]}", f"run       {command}"]))
    return 0


def convert_qlib(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    from harness.integrations.qlib_workflow import check_composes, read_workflow, translate

    given = {k: v for k, v in (("horizon", arguments.horizon), ("step", arguments.step)) if v is not None}
    if arguments.as_is and given:
        name, value = next(iter(given.items()))
        what = f"`--{name}` has no meaning beside `--as-is`."
        raise ConfigError(what, where=f"--{name}", got=value, expected="one of the two")
    workflow = read_workflow(Path(arguments.workflow))
    found = translate(workflow, **given, as_qlib=arguments.as_qlib, as_is=arguments.as_is)
    check_composes(found)
    for note in found.notes:
        err.write(f"not carried over: {note}", "yellow")
    if arguments.out is None:
        out.write_document(found.to_yaml())
        return 0
    path = Path(arguments.out)
    if path.exists():
        what, expected = "The file is there already, and stays as it is.", "a name that is not taken"
        raise ConfigError(what, where="--out", got=str(path), expected=expected, hint="remove it, or choose another")
    write_atomically(path, found.to_yaml().encode())
    out.write(f"written   {path}")
    if path.parent.name == "experiment":
        command = shlex.join(["bench", "run", "--config-dir", str(path.parent.parent), f"experiment={path.stem}"])
        out.write(f"run       {command}")
    return 0

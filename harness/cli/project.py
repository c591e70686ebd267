"""`bench init` and `bench doctor`: a project of one's own, and whether this machine can run it."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from harness.cli.declaration import Answer
from harness.cli.integrations import lines_of_test
from harness.execution.progress import PlainObserver


def init(arguments: Namespace, observer: PlainObserver) -> Answer:
    from harness.integrations.skeletons import write_project

    folder = Path(arguments.folder)
    lines = [f"written   {path}" for path in write_project(folder, arguments.model)]
    lines += [] if arguments.folder == "." else [f"go there  cd {shlex.quote(arguments.folder)}"]
    lines += [
        "run       bench run experiment=base",
        *lines_of_test(Path(f"test_{arguments.model}.py")),
        "bless     bench bless mine --reason 'the first baseline'",
        "check     bench check mine",
    ]
    return Answer(lines)


def doctor(arguments: Namespace, observer: PlainObserver) -> Answer:
    from harness.cli.composed import config_of
    from harness.integrations.health import examine
    from harness.report.table import TableCell, prose, table

    found = examine(config_of(arguments))
    styles = {"ok": "green", "missing": "yellow", "bad": "bold red"}
    rows = [
        (one.what, TableCell(one.state, style=styles[one.state]), "\n".join(filter(None, (one.found, one.advice))))
        for one in found
    ]
    shown = table("what runs need", ("what", "state", *prose("found")), rows)
    return Answer([shown], found, int(any(one.state == "bad" for one in found)))

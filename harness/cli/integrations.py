"""What ties the harness to other tools: `bench track push`, `convert-qlib`, `new`, and `completion` in a shell."""

from __future__ import annotations

import importlib.util
import os
import shlex
from argparse import Namespace
from pathlib import Path

from harness.cli.application import group_choices
from harness.cli.commands import COMMANDS
from harness.cli.declaration import LOUDNESS, Answer
from harness.cli.streams import write_file
from harness.errors import ConfigError, DataError
from harness.execution.progress import PlainObserver

_SCRIPT = """\
# Completion of bench, written by `bench completion {shell}`.
_bench_words() {{
    case "$1" in
{commands}
    esac
}}
_bench_choices() {{
    case "$1" in
{choices}
    esac
}}
_bench() {{
    local path="" word current="${{COMP_WORDS[COMP_CWORD]}}" key=""
    # The shell takes KEY=VALUE apart at its sign.
    if [[ "$current" == "=" ]]; then key="${{COMP_WORDS[COMP_CWORD-1]}}"; current=""
    elif [[ "${{COMP_WORDS[COMP_CWORD-1]}}" == "=" ]]; then key="${{COMP_WORDS[COMP_CWORD-2]}}"
    elif [[ "$current" == *=* ]]; then key="${{current%%=*}}"; current="${{current#*=}}"; fi
    if [[ -n "$key" ]]; then
        COMPREPLY=( $(compgen -W "$(_bench_choices "$key")" -- "$current") )
        return
    fi
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ "$word" == -* || "$word" == *=* ]] && continue
        [[ -n "$(_bench_words "$path $word")" ]] && path="$path $word"
    done
    COMPREPLY=( $(compgen -W "$(_bench_words "$path")" -- "$current") )
    [[ "${{COMPREPLY[0]}}" == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}}
complete -o default -F _bench bench
"""


def push(arguments: Namespace, observer: PlainObserver) -> Answer:
    from harness.cli.report import add_report
    from harness.integrations.mlflow_records import all_folders
    from harness.integrations.tracking import Mlflow

    sink = Mlflow(arguments.uri or os.environ.get("MLFLOW_TRACKING_URI") or None, arguments.experiment)
    sink.check()
    folders = [Path(folder) for folder in arguments.folders]
    for absent in (folder for folder in folders if not folder.is_dir()):
        raise DataError("There is no such folder.", where="FOLDER", got=str(absent), expected="a run's or a sweep's")
    folders = folders or all_folders(Path("runs"))
    for found in folders:
        add_report(found, observer)
    runs = folders[0].resolve().parent if folders else Path("runs")
    done = sink.push(folders, runs, observer)
    missed = {str(folder): reason for folder, reason in done.missed.items()}
    for folder, reason in missed.items():
        observer.notice(f"{folder}: {reason}")
    line = f"{done.sent} sent, {done.present} there already, {len(missed)} missed"
    return Answer([line], {"sent": done.sent, "present": done.present, "missed": missed}, int(bool(missed)))


def new(arguments: Namespace, observer: PlainObserver) -> Answer:
    from harness.integrations.skeletons import write_skeleton

    kind = arguments.kind if arguments.plan in (None, "weights") else arguments.plan
    if arguments.plan is not None and arguments.kind != "adaptation":
        what, expected = "Only an adaptation has a kind.", "bench new adaptation NAME --kind …"
        raise ConfigError(what, where="--kind", got=f"{arguments.plan}, with {arguments.kind}", expected=expected)
    files, command = write_skeleton(kind, arguments.name, Path(arguments.folder))
    lines = [f"written   {path}" for path in files]
    return Answer([*lines, *lines_of_test(files[-1]), f"run       {command}"])


def lines_of_test(test: Path) -> list[str]:
    """Return the command that runs a test, and what it needs where that is not installed."""
    lacking = importlib.util.find_spec("pytest") is None
    return [f"test      python -m pytest {test}", *["needs     pip install pytest"] * lacking]


def convert_qlib(arguments: Namespace, observer: PlainObserver) -> Answer:
    from harness.integrations.qlib_workflow import check_composes, read_workflow, translate

    given = {k: v for k, v in (("horizon", arguments.horizon), ("step", arguments.step)) if v is not None}
    for name, value in given.items() if arguments.as_is else ():
        what = f"`--{name}` has no meaning beside `--as-is`."
        raise ConfigError(what, where=f"--{name}", got=value, expected="one of the two")
    workflow = read_workflow(Path(arguments.workflow))
    found = translate(workflow, **given, as_qlib=arguments.as_qlib, as_is=arguments.as_is)
    check_composes(found)
    notes = [f"not carried over: {note}" for note in found.notes]
    if arguments.out is None:
        return Answer(record=found.to_yaml(), notes=notes)
    path = Path(arguments.out)
    if path.exists():
        what, expected = "The file is there already, and stays as it is.", "a name that is not taken"
        raise ConfigError(what, where="--out", got=str(path), expected=expected, hint="remove it, or choose another")
    write_file(path, found.to_yaml(), "--out")
    shown = [f"written   {path}"]
    if path.parent.name == "experiment":
        command = shlex.join(["bench", "run", "--config-dir", str(path.parent.parent), f"experiment={path.stem}"])
        shown.append(f"run       {command}")
    return Answer(shown, notes=notes)


def completion(arguments: Namespace, observer: PlainObserver) -> Answer:
    head = "autoload -U +X bashcompinit && bashcompinit\n" if arguments.shell == "zsh" else ""
    return Answer(record=head + script(arguments.shell))


def script(shell: str) -> str:
    from harness.config import known_keys

    words: dict[str, set[str]] = {"": {"--help", "--version"}}
    overridable = {f"{name}=" for name in (*group_choices(), *known_keys())}
    for command in COMMANDS:
        above = ""
        for name in command.name.split():
            words.setdefault(above, set()).add(name)
            above += f" {name}"
        given = [*command.options, *command.exclusive, *LOUDNESS]
        flags = {name for names, _ in given for name in names if name.startswith("-")}
        choices = {c for names, settings in given if names[0][0] != "-" for c in settings.get("choices", ())}
        takes_overrides = any(names[0] in ("overrides", "targets") for names, _ in given)
        words[above] = {"-h", "--help"} | flags | choices | (overridable if takes_overrides else set())
    commands = [_case(path, sorted(found)) for path, found in sorted(words.items())]
    groups = [_case(name, found) for name, found in sorted(group_choices().items())]
    return _SCRIPT.format(shell=shell, commands="\n".join(commands), choices="\n".join(groups))


def _case(name: str, words: list[str]) -> str:
    return f"        '{name}') echo '{' '.join(words)}' ;;"

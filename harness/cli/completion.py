"""`bench completion`: a script that completes commands, options, configuration groups, their choices and keys."""

from __future__ import annotations

from argparse import Namespace

from harness.cli.application import COMMANDS, group_choices
from harness.cli.declaration import LOUDNESS
from harness.cli.streams import ErrorConsole, OutputConsole
from harness.config import known_keys

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


def completion(arguments: Namespace, out: OutputConsole, err: ErrorConsole) -> int:
    head = "autoload -U +X bashcompinit && bashcompinit\n" if arguments.shell == "zsh" else ""
    out.write_document(head + script(arguments.shell))
    return 0


def script(shell: str) -> str:
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

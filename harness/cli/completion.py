"""`bench completion`: a script that completes commands, options, configuration groups, their choices and keys."""

from __future__ import annotations

import argparse

from rich.console import Console

from harness.cli.shared import Arguments, Commands, group_choices, leaves
from harness.config import known_keys

_HELP = """\
Print a script that completes commands, options, configuration groups, their choices and keys.

examples:
  source <(bench completion bash)                             in this shell
  bench completion bash > ~/.local/share/bash-completion/completions/bench
  source <(bench completion zsh)                              after compinit, in ~/.zshrc

exit codes: 0 printed, 2 another shell"""
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


def add(groups: Commands[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = groups.add_parser(
        "completion",
        help="print a script for completion in bash or zsh",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh"), help="which shell")
    parser.set_defaults(command=completion)


def completion(arguments: Arguments, out: Console, err: Console) -> int:
    """Print the script."""
    script = bash_script(arguments.build(), arguments.shell)
    head = "autoload -U +X bashcompinit && bashcompinit\n" if arguments.shell == "zsh" else ""
    out.print(head + script, markup=False, soft_wrap=True, end="")
    return 0


def bash_script(parser: argparse.ArgumentParser, shell: str = "bash") -> str:
    """Return the script for a tree of commands and the configuration tree."""
    words: dict[str, set[str]] = {"": {"--help", "--version"}}
    overridable = [f"{name}=" for name in (*group_choices(), *known_keys())]
    for path, leaf in leaves(parser).items():
        for depth, name in enumerate(path):
            words.setdefault("".join(f" {part}" for part in path[:depth]), set()).add(name)
        options = {option for action in leaf._actions for option in action.option_strings}
        takes_overrides = any(action.dest in ("overrides", "targets") for action in leaf._actions)
        choices = {str(c) for a in leaf._actions if not a.option_strings and a.choices for c in a.choices}
        words["".join(f" {part}" for part in path)] = options | choices | set(overridable if takes_overrides else ())
    commands = [_case(path, sorted(found)) for path, found in sorted(words.items())]
    groups = [_case(name, found) for name, found in sorted(group_choices().items())]
    return _SCRIPT.format(shell=shell, commands="\n".join(commands), choices="\n".join(groups))


def _case(name: str, words: list[str]) -> str:
    return f"        '{name}') echo '{' '.join(words)}' ;;"

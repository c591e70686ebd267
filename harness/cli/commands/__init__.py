"""Every command: what it teaches, what its exit codes mean, and what it takes."""

from harness.cli.commands import data, judge, look, project, run

# What a command is for → the first words of commands, and what each does in a few words.
PURPOSES = {
    "run": run.LISTED,
    "judge": judge.LISTED,
    "look": look.LISTED,
    "data": data.LISTED,
    "project": project.LISTED,
}
COMMANDS = (*run.COMMANDS, *judge.COMMANDS, *look.COMMANDS, *data.COMMANDS, *project.COMMANDS)

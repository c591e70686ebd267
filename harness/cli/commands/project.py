"""Commands around a project: folders, skeletons, what is installed, files of other programs."""

from __future__ import annotations

from harness.cli import declaration as shared
from harness.cli.declaration import Command, flag, option

ADAPTATIONS = ("weights", "sample_weights", "state", "trigger", "transform")
LISTED = {
    "init": "a project folder that works at once",
    "new": "a model, adaptation, source, metric or strategy",
    "doctor": "what this machine has, and which extras it lacks",
    "convert-qlib": "a workflow of qlib as an experiment",
    "migrate": "bring snapshots to the current schema",
    "completion": "for bash and zsh",
}
COMMANDS = (
    Command(
        "init",
        "project:init",
        """\
Write a project of your own: a folder with a model, an experiment, a suite, what CI runs, and what git ignores. It works
as it is; `bench new` adds to it. Nothing that is there already is touched.

examples:
  bench init my_study
  bench init my_study --model my_ridge""",
        (
            option("folder FOLDER", "where to write it (default: here)", ".", nargs="?"),
            option("--model NAME", "name of its model's module", "my_model"),
        ),
    ),
    Command(
        "new",
        "integrations:new",
        """\
Write a working model, adaptation, data source, metric or strategy: one Python file with a class, the YAML file that
names it, and a test that passes. Then change what it does.

examples:
  bench new model my_model
  bench new adaptation my_trigger --kind trigger
  bench new data my_data --folder research
  bench new metric my_metric""",
        (
            option("kind", "what to write", choices=("model", "adaptation", "data", "metric", "strategy")),
            option("name NAME", "name of the module, such as my_model"),
            option("--kind", "of an adaptation: what it does (default: weights)", dest="plan", choices=ADAPTATIONS),
            option("--folder FOLDER", "where to write it", "."),
        ),
    ),
    Command(
        "doctor",
        "project:doctor",
        """\
Look at what runs need: Python and libraries, kernels, threads, store and disk, and which extras are missing and how to
install them here. A missing extra is no fault: whatever needs it names it.

examples:
  bench doctor
  bench doctor output.store=/scratch/store --json""",
        (*shared.CONFIGURED, shared.JSON),
        exits="0 nothing is in the way of a run, 1 something is, 2 a mistake in the command",
    ),
    Command(
        "convert-qlib",
        "integrations:convert_qlib",
        """\
Turn a workflow file of qlib's rolling benchmarks into an experiment: data folder, features, processors, label, windows,
model and portfolio. What has no counterpart is named, in the file and on the screen; nothing is dropped silently.

examples:
  bench convert-qlib workflow_config_linear_Alpha158.yaml
  bench convert-qlib workflow.yaml --horizon 20 --step 20 --out my_conf/experiment/from_qlib.yaml
  bench convert-qlib workflow.yaml --as-is               one fit and the file's own label, as qrun runs it
  bench run --config-dir my_conf experiment=from_qlib""",
        (
            option("workflow FILE", "qlib's YAML file"),
            option("--horizon N", "the label's horizon, as in qlib's rolling (default: 20)", type=int),
            option("--step N", "periods (trading days) per test segment (default: 20)", type=int),
            flag("--as-is", "take the file as it stands: one fit, its own label (no --horizon, --step)"),
            flag("--as-qlib", "keep qlib's rules where ours are stricter"),
            option("--out FILE", "write the experiment there instead of printing it"),
        ),
    ),
    Command(
        "migrate",
        "history:migrate",
        """\
Bring snapshots to the current schema version, in place and atomically. Each is first checked by the rules of the
version that wrote it, so that an edited file cannot be laundered; identity, metrics and digest stay as they are. A case
of baselines without a list of its versions gets one.

examples:
  bench migrate results
  bench migrate runs/my-run-0123456789ab/snapshot.json""",
        (option("paths PATH", "a snapshot, or a folder with snapshots at any depth", nargs="+"), shared.JSON),
    ),
    Command(
        "completion",
        "integrations:completion",
        """\
Print a script that completes commands, options, configuration groups, their choices and keys.

examples:
  source <(bench completion bash)                             in this shell
  bench completion bash > ~/.local/share/bash-completion/completions/bench
  source <(bench completion zsh)                              after compinit, in ~/.zshrc""",
        (option("shell", "which shell", choices=("bash", "zsh")),),
    ),
)

"""The commands about snapshots, finished runs and files."""

from __future__ import annotations

from harness.cli import declaration as shared
from harness.cli.declaration import Command, config_dir, flag, option

RESULT_COMMANDS = (
    Command(
        "check",
        "hold a suite, cases or runs to their blessed baselines",
        "suites:check",
        """\
Run the cases of a suite and hold every number to its blessed baseline. What is in the store is not computed again.

A case that says audit=static, sampled or full is audited too, and a leak fails it.

The same code in the same environment must give the same bits. Another processor, library or code is held to the
tolerances of conf/regression, and the verdict says which rule was applied and why. A metric that is gone, renamed or
undefined is a finding, and so is a baseline that is missing, edited by hand, or without a case.

examples:
  bench check smoke
  bench check smoke/linear --all
  bench check runs/my-run-0123456789ab --as mine/linear
  bench check smoke --json --junit verdicts.xml
  bench check smoke --learn seeds=5        tolerances from the spread over five seeds""",
        shared.VERDICTS,
        (
            *shared.SELECTION,
            shared.EVERY_METRIC,
            shared.VERDICTS_AS_JSON,
            option("--junit FILE", "write the verdicts as JUnit XML"),
            option("--learn seeds=K", "run each case under K seeds and write learned tolerances"),
            option("--out FILE", "with --learn: where to write them (default: conf/regression/learned-SUITE.yaml)"),
        ),
    ),
    Command(
        "bless",
        "make runs the baseline, with a reason",
        "suites:bless",
        """\
Show how runs differ from their baselines, then write them as the next versions, results/SUITE/CASE/v0001.json and on.
No version is ever overwritten; each keeps its reason, its time and the digest of the one that it replaces. The
leaderboard that is made of them, results/leaderboard.md, is written anew.

Nothing is written for a case whose numbers and identity are those of its baseline, that failed, that was skipped, or
whose own audit (audit=static, sampled or full among its overrides) found that it used the future.

examples:
  bench bless smoke --reason "purge one day longer: labels are known a day later"
  bench bless smoke --new-only --reason "a case for sliding windows"
  bench bless runs/my-run-0123456789ab --as mine/linear --reason "what the paper reports"
  bench bless smoke --dry-run""",
        shared.VERDICTS,
        (
            *shared.SELECTION,
            option("--reason TEXT", "one sentence: what changed, and why; kept in the snapshot"),
            flag("--new-only", "only cases that have no baseline yet"),
            flag("--dry-run", "show the differences and write nothing"),
            shared.EVERY_METRIC,
            flag("--json", "print what was done as JSON instead of tables"),
        ),
    ),
    Command(
        "log",
        "print the versions of baselines and their reasons",
        "history:log",
        """\
Print the versions of baselines, the newest first: when, by which code, what changed, and why. Every file is checked on
the way: one that was edited, renamed or taken away is reported.

examples:
  bench log                    every case
  bench log smoke/linear       one case
  bench log smoke --json
  bench log --runs default/linear    what lies in runs/: by which code, yours too, and with which numbers""",
        "0 fine, 2 a mistake of the user or a damaged baseline",
        (
            option("targets TARGET", "suites or cases (default: all)", nargs="*"),
            shared.RESULTS,
            flag("--runs", "the runs of the cases instead of their baselines"),
            option("--runs-folder FOLDER", "with --runs: where they lie", "runs"),
            shared.JSON,
        ),
    ),
    Command(
        "diff",
        "compare two versions, cases, runs or files",
        "history:diff",
        """\
Compare any two snapshots: versions (linear@v2), cases (smoke/linear), runs (their folder) or files. Where their
identities differ, the keys are named; where the data differ and both panels are in the store, so are the instruments
and dates. Numbers are shown all the same, and called not comparable.

examples:
  bench diff smoke/linear@v1 smoke/linear@v2
  bench diff smoke/linear runs/my-run-0123456789ab --all""",
        shared.VERDICTS,
        (
            option("baseline A", "CASE, SUITE/CASE, either with @vN, a run's folder, or a file"),
            option("candidate B", "the other one"),
            shared.RESULTS,
            option("--regression NAME", "tolerances: a name or a path ending in .yaml", "default"),
            config_dir("regression/"),
            option("--store FOLDER", "the artifact store (default: output.store)"),
            shared.EVERY_METRIC,
            shared.VERDICTS_AS_JSON,
        ),
    ),
    Command(
        "nightly",
        "run a suite, check it, write a report, return the worst exit code",
        "suites:nightly",
        """\
Run every case of a suite, hold it to its baseline, and write into one folder what a person, a program and a CI server
read: report.md, verdicts.json, junit.xml, and report.html about the runs themselves. A case that crashes leaves its
traceback there and stops no other. A case whose data are not there is skipped, and says so; a night in which every case
was skipped is not fine.

examples:
  bench nightly suite=smoke
  bench nightly suite=full --out nights/today
  BENCH_DATA=my_data bench nightly suite=full --json""",
        shared.VERDICTS,
        (*shared.SELECTION, option("--out FOLDER", "where to write", "nightly"), shared.VERDICTS_AS_JSON),
    ),
    Command(
        "migrate",
        "bring snapshots of an older schema to the current one",
        "history:migrate",
        """\
Bring snapshots to the current schema version, in place and atomically. Each is first checked by the rules of the
version that wrote it, so that an edited file cannot be laundered; identity, metrics and digest stay as they are. A case
of baselines without a list of its versions gets one.

examples:
  bench migrate results
  bench migrate runs/my-run-0123456789ab/snapshot.json""",
        "0 fine, 2 a file that is no snapshot, was edited, or is of an unknown version",
        (option("paths PATH", "a snapshot, or a folder with snapshots at any depth", nargs="+"), shared.JSON),
    ),
    Command(
        "report",
        "write sweeps and runs as one HTML file",
        "report:report",
        """\
Write one HTML file about sweeps and runs: leaderboard with intervals and tests, returns, ICs, windows, learned weights,
provenance. It holds everything it needs and works offline; it can be mailed and printed.

Without a folder it shows the newest sweep under `runs`, or all runs when there is no sweep.

examples:
  bench report
  bench report runs/sweep-0123456789ab --out sweep.html --reference "adaptation=rolling_retrain"
  bench report runs/synthetic.* --out all.html --title "All runs on the simulated market"
""",
        "0 written, 2 a mistake in the command or a folder without results",
        (
            shared.FOLDERS,
            option("--out FILE", "the file to write", "report.html"),
            shared.REFERENCE,
            option("--title", "the heading", "driftbench report"),
        ),
    ),
    Command(
        "leaderboard",
        "print or export the table of sweeps and runs",
        "report:leaderboard",
        """\
Print the leaderboard of sweeps and runs, the best first, each metric with its interval, ▲ ▼ where it is better or worse
than the reference; or export it. Numbers in CSV and JSON have full precision.

Without a folder it shows the newest sweep under `runs`, or all runs when there is no sweep.

examples:
  bench leaderboard
  bench leaderboard runs/sweep-0123456789ab --sort-by IC --reference "adaptation=rolling_retrain"
  bench leaderboard --format latex --out table.tex
  bench leaderboard --json""",
        "0 fine, 2 a mistake in the command or a folder without results",
        (
            shared.FOLDERS,
            option("--sort-by METRIC", "orders the rows", "rank_IC"),
            shared.REFERENCE,
            option("--format", "what to write", "table", choices=("table", "markdown", "latex", "csv", "json")),
            flag("--json", "the same as --format json", action="store_const", const="json", dest="format"),
            option("--out FILE", "write the export into a file instead of printing it"),
        ),
    ),
    Command(
        "track push",
        "send what was missed",
        "integrations:push",
        """\
Send runs and sweeps to MLflow that it does not hold yet: those of before, and those that were made while the server was
down. A sweep becomes a parent run, its cells child runs. What is there already is not sent twice.

Without a folder it takes every sweep under `runs`, and every run that belongs to none.

examples:
  bench track push
  bench track push runs/sweep-0123456789ab --uri http://127.0.0.1:5000 --experiment drift""",
        "0 everything is there, 1 something could not be sent, 2 a mistake in the command or the folders",
        (
            shared.FOLDERS,
            option(
                "--uri",
                "of the server or database (default: MLFLOW_TRACKING_URI, or the file mlflow.db beside the runs)",
            ),
            option("--experiment NAME", "MLflow's experiment", "driftbench"),
            shared.JSON,
        ),
    ),
    Command(
        "new",
        "write a model, adaptation, source or metric to begin with",
        "integrations:new",
        """\
Write a working model, adaptation, data source or metric: one Python file with a class, the YAML file that names it, and
a test that passes. Then change what it does.

examples:
  bench new model my_model
  bench new data my_data --folder research
  bench new metric my_metric""",
        "0 written, 2 a name that cannot be used or is taken",
        (
            option("kind", "what to write", choices=("model", "adaptation", "data", "metric")),
            option("name NAME", "name of the module, such as my_model"),
            option("--folder FOLDER", "where to write it", "."),
        ),
    ),
    Command(
        "convert-qlib",
        "turn a workflow file of qlib into an experiment",
        "integrations:convert_qlib",
        """\
Turn a workflow file of qlib's rolling benchmarks into an experiment: data folder, features, processors, label, windows,
model and portfolio. What has no counterpart is named, in the file and on the screen; nothing is dropped silently.

examples:
  bench convert-qlib workflow_config_linear_Alpha158.yaml
  bench convert-qlib workflow.yaml --horizon 20 --step 20 --out my_conf/experiment/from_qlib.yaml
  bench convert-qlib workflow.yaml --as-is               one fit and the file's own label, as qrun runs it
  bench run --config-dir my_conf experiment=from_qlib""",
        "0 translated, 2 a file that is no workflow, or something without a counterpart",
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
        "completion",
        "print a script for completion in bash or zsh",
        "completion:completion",
        """\
Print a script that completes commands, options, configuration groups, their choices and keys.

examples:
  source <(bench completion bash)                             in this shell
  bench completion bash > ~/.local/share/bash-completion/completions/bench
  source <(bench completion zsh)                              after compinit, in ~/.zshrc""",
        "0 printed, 2 another shell",
        (option("shell", "which shell", choices=("bash", "zsh")),),
    ),
)

"""Every command: what it teaches, what its exit codes mean, and what it takes."""

from __future__ import annotations

from harness.cli import declaration as shared
from harness.cli.declaration import Command, config_dir, flag, option

ADAPTATIONS = ("weights", "sample_weights", "state", "trigger", "transform")
COMMANDS = (
    Command(
        "run",
        "run:run",
        """\
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
  bench run -m hydra/launcher=joblib model=linear,lightgbm   the same, each cell in a process of its own
  bench run audit=sampled                                    and audits it: see `bench audit --help`

A cell of a sweep that a rule refuses (too little history, weights that the model cannot use) is reported and spoils
nothing, unless all are refused.""",
        (
            *shared.CONFIGURED,
            flag("-m --multirun", "sweep: run every combination of KEY=A,B,… values"),
            flag("--plan", "with -m: print the cells and stop"),
            option("--sort-by METRIC", "with -m: the metric that orders the table (default: rank_IC, or MAE)"),
            option("--reference CELL", "with -m: what others are tested against (default: the first rolling_retrain)"),
            *shared.HYDRA,
            shared.JSON,
        ),
        is_long=True,
        exits=f"0 fine, 1 a leak or a failed cell, 2 a mistake, or all cells are refused, {shared.INTERRUPTED}",
    ),
    Command(
        "search",
        "run:search",
        """\
Search hyper-parameters on the validation period, never on test. Optuna's TPE sampler chooses them; the command that
evaluates the best trial on the test range is printed, and never run.

Every trial is an ordinary run on a schedule that is moved back: it is tested on the configured valid segment, stops
early on the tail of train, and its data end before the first test decision. The last look-ahead periods of valid are
left out, because their labels reach into test. The same seed gives the same trials. The same command goes on where it
stopped: its finished runs are reused, with --storage also its trials. --trials counts all trials of a study.

With --batch N the trials are asked for N at a time, and executor=local or executor=dask runs them at the same time. The
trials depend on N, for those of a batch do not know how the others end, but never on the executor or its workers.

A search space is written in Hydra's grammar, in quotes:
  KEY=interval(0.1,1)     KEY=int(interval(1,9))     KEY=tag(log,interval(1e-3,100))
  KEY=range(10,100,10)    KEY=choice(a,b)

examples:
  bench search 'model.alpha=tag(log,interval(0.001,1000))' --trials 20
  bench search data=cn_csi300 model=lightgbm 'model.num_leaves=int(interval(15,255))' \\
      'model.learning_rate=tag(log,interval(0.01,0.3))' --trials 30 --storage search.db
  bench search executor=local 'model.alpha=tag(log,interval(0.001,1000))' --trials 24 --batch 4
  bench search evaluation=portfolio 'windows.step=choice(20,40,60)' --metric information_ratio --trials 6""",
        (
            *shared.CONFIGURED,
            option("--trials N", "how many trials", 20, type=int),
            option("--metric", "what is searched for", "rank_IC"),
            option("--direction", "of the metric (default: as it is known)", choices=("minimize", "maximize")),
            option("--seed S", "of the sampler", 43, type=int),
            option("--batch N", "how many trials are asked for, and run, together", 1, type=int),
            option("--storage FILE", "a SQLite file that keeps the trials, to resume"),
            shared.JSON,
        ),
        exits=f"0 a best trial is found, 1 a trial crashed, 2 a mistake, or no trial has a value, {shared.INTERRUPTED}",
    ),
    Command(
        "predict",
        "predict:predict",
        """\
Print the newest scores: those of the last time that there are data of, whose label nobody knows yet; with a portfolio
the orders that follow from them, for the next time. Runs the configuration, or finds in the store what has been run.

examples:
  bench predict data=tabular data.path=prices.parquet 'windows.train=[2010,2018]' 'windows.test=[2019-01-02,null]'
  bench predict evaluation=portfolio evaluation.portfolio.topk=10 evaluation.portfolio.n_drop=1 --top 10
  bench predict data=cn_csi300 'windows.test=[2017-01-03,null]' --json""",
        (
            *shared.CONFIGURED,
            option("--top N", "how many of the best scores are printed", 20, type=int),
            shared.JSON,
        ),
        is_long=True,
    ),
    Command(
        "status",
        "status:status",
        """\
Print how far runs and sweeps are that other processes run, or ran, on a store: cells and windows that wait, run, are
done, were refused, failed, or were stopped with their process, and how long the rest will take. It tells a sweep that
was killed from one that goes on; the same command finishes either. The last ten that have ended are kept.

examples:
  bench status
  bench status --watch                         again every two seconds, until nothing runs any more
  bench status --store /scratch/store --json""",
        (
            flag("--watch", "print it again every two seconds while something runs"),
            option("--store FOLDER", "the artifact store (default: output.store)"),
            shared.JSON,
        ),
    ),
    Command(
        "explain",
        "explain:explain",
        """\
Print the windows of a configuration without running anything: dates, purge and rows. What `bench run` would refuse for
its data or its evaluation is refused.

examples:
  bench explain data=cn_csi300 windows.step=20
  bench explain label.horizon=5 windows=sliding""",
        (*shared.CONFIGURED, shared.JSON),
    ),
    Command(
        "config",
        "explain:config",
        """\
Print the configuration that a command would run with, what its keys mean, or a JSON Schema of configuration files.

With a schema an editor completes keys, shows what they mean and marks mistakes while a YAML file is written:
`bench config --schema model > model.schema.json`, and as first line of the file
`# yaml-language-server: $schema=model.schema.json`.

examples:
  bench config model=lightgbm windows.step=40         the composed configuration, as YAML
  bench config --describe model model=lightgbm        each key below `model`: value, what it accepts, what it means
  bench config --schema model                         for FOLDER/model/NAME.yaml
  bench config --schema                               for files that change several groups, such as experiments""",
        (*shared.CONFIGURED, flag("--json", "print the configuration or the description as JSON")),
        exclusive=(
            option("--describe KEY", "value, accepted values and meaning of all keys (below KEY)", nargs="?", const=""),
            option("--schema GROUP", "JSON Schema of a group's files (or experiments)", nargs="?", const="experiment"),
        ),
    ),
    Command(
        "audit",
        "run:audit_configuration",
        """\
Prove that no prediction of an experiment used what was not known when it was made.

  static    what the finished run recorded: reads, borders, rows, labels. Free.
  sampled   also replaces the whole market after two decisions by another one: predictions made before must be the same
            bits, and those made after must know nothing of the real market. At most twice the run.
  full      also after every other decision, a second run, permuted labels, and which learning times are used.

It works on any model, adaptation or source, your own included.

examples:
  bench audit data=cn_csi300 model=lightgbm
  bench audit model=my_model --config-dir my_conf --level full
  bench audit adaptation=ddgda --level full --cuts 12      12 decisions, where every one would take too long
  bench audit --price                          also what six well-known leaks would add, and the adaptation's own""",
        (
            *shared.CONFIGURED,
            option("--level", "how thorough", "sampled", choices=("static", "sampled", "full")),
            option("--cuts N", "with --level full: at N decisions, evenly spread (default: at every one)", type=int),
            flag("--price", "run leaky variants and print what each leak would add to IC and return"),
            shared.JSON,
        ),
        exits="0 no leak, 1 a leak, 2 a mistake in the command or the data",
    ),
    Command(
        "data info",
        "explain:data_info",
        """\
Print what a panel holds: fields, dates, instruments, members a day, missing values, fingerprint.

examples:
  bench data info data=cn_csi300
  bench data info data=tabular data.path=my.parquet --json""",
        (*shared.CONFIGURED, shared.JSON),
    ),
    Command(
        "data validate",
        "explain:data_validate",
        """\
Check a panel and list what looks wrong. What breaks its contract is an error (exit code 2), the rest is counted.

examples:
  bench data validate data=cn_csi300
  bench data validate data=qlib_bin data.path=qlib_data/cn_data""",
        (*shared.CONFIGURED, shared.JSON),
    ),
    Command(
        "data convert",
        "explain:data_convert",
        """\
Write a panel as long Parquet with a membership file, or in qlib's directory format.

examples:
  bench data convert data=cn_csi300 --to qlib_bin --out qlib_data --universe csi300
  bench data convert data=qlib_bin data.path=qlib_data --to long --out my_panel""",
        (
            *shared.CONFIGURED,
            option("--to", "the format to write", choices=("long", "qlib_bin"), required=True),
            option("--out FOLDER", "a new folder for the result", required=True),
            option("--universe NAME", "name of the membership file", "universe"),
        ),
    ),
    Command(
        "data window",
        "explain:data_window",
        """\
Write the data of one window as its model gets them, as Parquet: processed as of its decision. train.parquet and, where
the model stops early, valid.parquet hold features and label of what is learned from; test.parquet the processed
features that are predicted from, and the raw label that predictions are judged by. Only processors are fitted.

examples:
  bench data window 0 data=cn_csi300 --out window_0
  bench data window 12 model=lightgbm preprocess.refit=per_window --out window_12""",
        (
            option("window N", "number of the window, from 0: see `bench explain`", type=int),
            *shared.CONFIGURED,
            option("--out FOLDER", "a new folder for the files", required=True),
            shared.JSON,
        ),
    ),
    Command(
        "cache status",
        "cache:status",
        """\
Print what the artifact store holds: results, size and age by stage. With overrides, only what that experiment uses.

examples:
  bench cache status
  bench cache status data=cn_csi300 model=lightgbm --json""",
        (*shared.CONFIGURED, shared.STAGE, shared.JSON),
    ),
    Command(
        "cache verify",
        "cache:verify",
        """\
Hold every file of the store against its checksum. A damaged result is listed; it would be computed again.

examples:
  bench cache verify
  bench cache verify --stage window --remove""",
        (*shared.CONFIGURED, flag("--remove", "remove what is damaged"), shared.STAGE, shared.JSON),
        exits="0 all sound, 1 something is damaged, 2 a mistake in the command",
    ),
    Command(
        "cache gc",
        "cache:collect",
        """\
Remove results that meet every condition, oldest first, and what killed processes have left. Nothing is lost but time:
whatever is needed again is computed again, to the same bits. What a running process uses stays. Without --yes it only
says what would go.

examples:
  bench cache gc --older-than 30 --yes
  bench cache gc --keep-gb 20 --yes
  bench cache gc --stage window --stage processed --yes
  bench cache gc data=cn_csi300 model=lightgbm --yes            what this experiment uses""",
        (
            *shared.CONFIGURED,
            option("--older-than DAYS", "only results of this age", type=float),
            option("--keep-gb GB", "only until the store is no larger than this", type=float),
            shared.STAGE,
            shared.DO_IT,
        ),
    ),
    Command(
        "cache reset",
        "cache:reset",
        """\
Remove the whole store, unless a running process uses it. Runs and blessed snapshots stand elsewhere, untouched.

examples:
  bench cache reset --yes
  bench cache reset output.store=/scratch/store --yes""",
        (*shared.CONFIGURED, shared.DO_IT),
    ),
    Command(
        "check",
        "cases:check",
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
        (
            *shared.SELECTION,
            shared.EVERY_METRIC,
            shared.VERDICTS_AS_JSON,
            option("--junit FILE", "write the verdicts as JUnit XML"),
            option("--learn seeds=K", "run each case under K seeds and write learned tolerances"),
            option("--out FILE", "with --learn: where to write them (default: conf/regression/learned-SUITE.yaml)"),
        ),
        exits=shared.VERDICTS,
    ),
    Command(
        "bless",
        "cases:bless",
        """\
Show how runs differ from their baselines, then write them as the next versions: results/SUITE/CASE/v0001.json and on.
No version is ever overwritten; each keeps its reason, its time and the digest of the one that it replaces. The
leaderboard that is made of them, results/leaderboard.md, is written anew.

Nothing is written for a case whose numbers and identity are those of its baseline, that failed, that was skipped, or
whose own audit (audit=static, sampled or full among its overrides) found that it used the future.

examples:
  bench bless smoke --reason "purge one day longer: labels are known a day later"
  bench bless smoke --new-only --reason "a case for sliding windows"
  bench bless runs/my-run-0123456789ab --as mine/linear --reason "what the paper reports"
  bench bless smoke --dry-run""",
        (
            *shared.SELECTION,
            option("--reason TEXT", "one sentence: what changed, and why; kept in the snapshot"),
            flag("--new-only", "only cases that have no baseline yet"),
            flag("--dry-run", "show the differences and write nothing"),
            shared.EVERY_METRIC,
            flag("--json", "print what was done as JSON instead of tables"),
        ),
        exits=shared.VERDICTS,
    ),
    Command(
        "log",
        "history:log",
        """\
Print the versions of baselines, the newest first: when, by which code, what changed, and why. Every file is checked on
the way: one that was edited, renamed or taken away is reported.

examples:
  bench log                    every case
  bench log smoke/linear       one case
  bench log smoke --json
  bench log --runs default/linear    what lies in runs/: by which code, yours too, and with which numbers""",
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
        "history:diff",
        """\
Compare any two snapshots: versions (linear@v2), cases (smoke/linear), runs (their folder) or files. Where their
identities differ, the keys are named; where the data differ and both panels are in the store, so are the instruments
and dates. Numbers are shown all the same, and called not comparable.

examples:
  bench diff smoke/linear@v1 smoke/linear@v2
  bench diff smoke/linear runs/my-run-0123456789ab --all""",
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
        exits=shared.VERDICTS,
    ),
    Command(
        "nightly",
        "cases:nightly",
        """\
Run a suite, check it, and write a report into one folder: what a person, a program and a CI server read is in
report.md, verdicts.json, junit.xml, and report.html about the runs themselves. A case that crashes leaves its traceback
there and stops no other. A case whose data are not there is skipped, and says so; a night in which every case was
skipped is not fine.

examples:
  bench nightly suite=smoke
  bench nightly suite=full --out nights/today
  BENCH_DATA=my_data bench nightly suite=full --json""",
        (*shared.SELECTION, option("--out FOLDER", "where to write", "nightly"), shared.VERDICTS_AS_JSON),
        exits=shared.VERDICTS,
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
        "report",
        "report:report",
        """\
Write one HTML file about sweeps and runs: leaderboard with intervals and tests, returns, ICs, windows, learned weights,
provenance. It holds everything it needs and works offline; it can be mailed and printed. Of two runs or blessed
versions the metrics stand side by side, with all that differs between them.

examples:
  bench report
  bench report runs/my-run-0123456789ab smoke/linear@v2
  bench report runs/sweep-0123456789ab --out sweep.html --reference "adaptation=rolling_retrain"
  bench report runs/synthetic.* --out all.html --title "All runs on the simulated market"
""",
        (
            option(
                "folders FOLDER",
                "of a sweep or a run, or a blessed version, SUITE/CASE@vN (default: the newest sweep under runs, or all"
                " runs)",
                nargs="*",
            ),
            option("--out FILE", "the file to write", "report.html"),
            shared.REFERENCE,
            shared.RESULTS,
            option("--store FOLDER", "the artifact store, for versions and groups (default: output.store)"),
            option("--title", "the heading", "driftbench report"),
        ),
    ),
    Command(
        "leaderboard",
        "report:leaderboard",
        """\
Print or export the leaderboard of sweeps and runs: the best first, each metric with its interval, ▲ ▼ where it is
better or worse than the reference. Numbers in CSV and JSON have full precision.

examples:
  bench leaderboard
  bench leaderboard runs/sweep-0123456789ab --sort-by IC --reference "adaptation=rolling_retrain"
  bench leaderboard --format latex --out table.tex
  bench leaderboard --json""",
        (
            shared.FOLDERS,
            option("--sort-by METRIC", "orders the rows, or MAE without it", "rank_IC"),
            shared.REFERENCE,
            option("--format", "what to write", "table", choices=("table", "markdown", "latex", "csv", "json")),
            flag("--json", "the same as --format json", action="store_const", const="json", dest="format"),
            option("--out FILE", "write the export into a file instead of printing it"),
        ),
    ),
    Command(
        "collect",
        "collect:collect",
        """\
Find finished runs by their configuration, merge their windows, average their predictions into an ensemble. Without
--merge and --average the runs are listed. What is made is judged by the members' criteria and left as a run: `bench
report`, `leaderboard`, `diff`, `bless` and `check` take its folder like any other.

  --where KEY=VALUE    any key of the configuration (model.alpha=1,10), a group by its class or as it was typed
                       (model=lightgbm), suite, case, look_ahead or data; several must all be met
  --merge              runs that differ in nothing but their windows become one; where they overlap, the later wins
  --average SCALE      the mean over the runs of their scores, of their z-scores or of their ranks at each time

Runs of other data, labels, criteria or test ranges are not averaged, nor is a run that an audit has found to leak; the
message names what differs.

examples:
  bench collect --where windows.step=20 --where model=linear,lightgbm
  bench collect --where label.horizon=20 --average zscore --case my_ensemble
  bench collect runs/sweep-0123456789ab --average rank
  bench collect --where seed=43 --merge""",
        (
            option("folders FOLDER", "of a sweep or a run (default: all runs under runs)", nargs="*"),
            option("--where KEY=VALUE", "only runs of this setting; may be given again", [], action="append"),
            flag("--merge", "put runs together that differ in their windows"),
            option("--average SCALE", "average the predictions", choices=("score", "zscore", "rank")),
            option("--case NAME", "what is made is called so (default: ensemble.SCALE, or the case that was merged)"),
            shared.JSON,
        ),
    ),
    Command(
        "reproduce",
        "report:reproduce",
        """\
Hold runs against published tables.

Each published row (conf/reference) stands above the runs that it belongs to. A value was REPRODUCED when it lies in our
95% interval, else it DIFFERS, or is NOT COMPARABLE, and why. Each claim of the source, such as "DDG-DA[Linear] over
RR[Linear]", is tested on two of our runs that differ in nothing else: SHOWN, NOT SHOWN or CONTRADICTED, with p-values
and the power to see a difference as large as the published one.

examples:
  bench nightly suite=paper && bench reproduce
  bench reproduce runs/csi300-linear-0123456789ab --format latex --out table.tex
  bench reproduce --json""",
        (
            option("folders FOLDER", "of a sweep or a run (default: all runs under runs)", nargs="*"),
            config_dir("reference/"),
            option("--format", "what to write", "table", choices=("table", "markdown", "latex", "csv", "json")),
            flag("--json", "the same as --format json", action="store_const", const="json", dest="format"),
            option("--out FILE", "write the export into a file instead of printing it"),
        ),
    ),
    Command(
        "track push",
        "integrations:push",
        """\
Send runs and sweeps to MLflow that it does not hold yet: those of before, and those that were made while the server was
down. A sweep becomes a parent run, its cells child runs. What is there already is not sent twice.

examples:
  bench track push
  bench track push runs/sweep-0123456789ab --uri http://127.0.0.1:5000 --experiment drift""",
        (
            option("folders FOLDER", "of a sweep or a run (default: all sweeps under runs, all other runs)", nargs="*"),
            option("--uri", "of the server or database (default: MLFLOW_TRACKING_URI, or mlflow.db beside the runs)"),
            option("--experiment NAME", "MLflow's experiment", "driftbench"),
            shared.JSON,
        ),
        exits="0 everything is there, 1 something could not be sent, 2 a mistake in the command or the folders",
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

"""The commands about a configuration, its data and its store."""

from __future__ import annotations

from harness.cli.declaration import CONFIGURED, DO_IT, FINE, INTERRUPTED, JSON, STAGE, Command, flag, option

EXPERIMENT_COMMANDS = (
    Command(
        "run",
        "run an experiment: prices in, metrics and a snapshot out",
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
  bench run audit=sampled                                    and audits it: see `bench audit --help`

A cell of a sweep that a rule refuses (too little history, weights that the model cannot use) is reported and spoils
nothing, unless all are refused.""",
        "0 fine, 1 a leak or a failed cell, 2 a mistake in the command, the data or a cell, or no cell that is not "
        f"refused, {INTERRUPTED}",
        (
            *CONFIGURED,
            flag("-m --multirun", "sweep: run every combination of KEY=A,B,… values"),
            flag("--plan", "with -m: print the cells and stop"),
            option("--sort-by METRIC", "with -m: the metric that orders the table", "rank_IC"),
            option(
                "--reference CELL",
                "with -m: the cell that the others are tested against (default: the first with rolling_retrain)",
            ),
            flag("--cfg", "print the composed configuration and stop"),
            JSON,
        ),
        is_long=True,
    ),
    Command(
        "search",
        "search hyper-parameters on the validation period, never on test",
        "run:search",
        """\
Search hyper-parameters on the validation period with Optuna's TPE sampler, and print the command that evaluates the
best trial on the test range. The search never runs it.

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
        "0 a best trial is found, 1 a trial crashed, 2 a mistake in the command or the data, or no trial has a value, "
        "130 interrupted, 143 by SIGTERM, 129 by SIGHUP (the finished trials are printed)",
        (
            *CONFIGURED,
            option("--trials N", "how many trials", 20, type=int),
            option("--metric", "what is searched for", "rank_IC"),
            option(
                "--direction",
                "which way the metric is better (default: as it is known)",
                choices=("minimize", "maximize"),
            ),
            option("--seed S", "of the sampler", 43, type=int),
            option("--batch N", "how many trials are asked for, and run, together", 1, type=int),
            option("--storage FILE", "a SQLite file that keeps the trials, to resume"),
            JSON,
        ),
    ),
    Command(
        "explain",
        "print the windows of a configuration without running anything",
        "explain:explain",
        """\
Print every window of a configuration: dates, purge and rows, without computing a feature or fitting anything; refuse
what `bench run` would refuse for its data or its evaluation.

examples:
  bench explain data=cn_csi300 windows.step=20
  bench explain label.horizon=5 windows=sliding""",
        f"{FINE} or the data",
        (*CONFIGURED, JSON),
    ),
    Command(
        "config",
        "print the configuration, the meaning of its keys, or its schema",
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
        "0 printed, 2 a mistake in the command or the configuration",
        (*CONFIGURED, flag("--json", "print the configuration or the description as JSON")),
        (
            option("--describe KEY", "value, accepted values and meaning of all keys (below KEY)", nargs="?", const=""),
            option(
                "--schema GROUP", "JSON Schema of the files of a group (or experiments)", nargs="?", const="experiment"
            ),
        ),
    ),
    Command(
        "audit",
        "prove that no prediction used the future",
        "audit:audit_configuration",
        """\
Audit an experiment: prove that no prediction used what was not known when it was made.

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
        "0 no leak, 1 a leak, 2 a mistake in the command or the data",
        (
            *CONFIGURED,
            option("--level", "how thorough", "sampled", choices=("static", "sampled", "full")),
            option(
                "--cuts N", "with --level full: look at N decisions, evenly spread (default: at every one)", type=int
            ),
            flag("--price", "run leaky variants and print what each leak would add to IC and return"),
            JSON,
        ),
    ),
    Command(
        "data info",
        "print what the panel holds",
        "explain:data_info",
        """\
Print what a panel holds: fields, dates, instruments, members a day, missing values, fingerprint.

examples:
  bench data info data=cn_csi300
  bench data info data=tabular data.path=my.parquet --json""",
        f"{FINE} or the data",
        (*CONFIGURED, JSON),
    ),
    Command(
        "data validate",
        "check the panel and list what looks wrong",
        "explain:data_validate",
        """\
Check a panel. What breaks its contract is an error (exit code 2); what merely looks odd is listed and counted.

examples:
  bench data validate data=cn_csi300
  bench data validate data=qlib_bin data.path=qlib_data/cn_data""",
        f"{FINE} or the data",
        (*CONFIGURED, JSON),
    ),
    Command(
        "data convert",
        "write the panel in another format",
        "explain:data_convert",
        """\
Write a panel as long Parquet with a membership file, or in qlib's directory format.

examples:
  bench data convert data=cn_csi300 --to qlib_bin --out qlib_data --universe csi300
  bench data convert data=qlib_bin data.path=qlib_data --to long --out my_panel""",
        f"{FINE} or the data",
        (
            *CONFIGURED,
            option("--to", "the format to write", choices=("long", "qlib_bin"), required=True),
            option("--out FOLDER", "a new folder for the result", required=True),
            option("--universe NAME", "name of the membership file", "universe"),
        ),
    ),
    Command(
        "cache status",
        "print what the store holds",
        "cache:status",
        """\
Print what the artifact store holds: results, size and age by stage. With overrides, only what that experiment uses.

examples:
  bench cache status
  bench cache status data=cn_csi300 model=lightgbm --json""",
        FINE,
        (*CONFIGURED, STAGE, JSON),
    ),
    Command(
        "cache verify",
        "hold every file against its checksum",
        "cache:verify",
        """\
Hold every file of the store against its checksum. A damaged result is listed; it would be computed again.

examples:
  bench cache verify
  bench cache verify --stage window --remove""",
        "0 all sound, 1 something is damaged, 2 a mistake in the command",
        (*CONFIGURED, flag("--remove", "remove what is damaged"), STAGE, JSON),
    ),
    Command(
        "cache gc",
        "remove what is old, too much, or of one experiment",
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
        FINE,
        (
            *CONFIGURED,
            option("--older-than DAYS", "only results of this age", type=float),
            option("--keep-gb GB", "only until the store is no larger than this", type=float),
            STAGE,
            DO_IT,
        ),
    ),
    Command(
        "cache reset",
        "remove the whole store",
        "cache:reset",
        """\
Remove the whole store, unless a running process uses it. Runs and blessed snapshots stand elsewhere, untouched.

examples:
  bench cache reset --yes
  bench cache reset output.store=/scratch/store --yes""",
        FINE,
        (*CONFIGURED, DO_IT),
    ),
)

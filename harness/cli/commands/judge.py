"""Commands that judge results: audits, baselines, published tables."""

from __future__ import annotations

from harness.cli import declaration as shared
from harness.cli.declaration import Command, config_dir, flag, option

LISTED = {
    "audit": "prove that nothing used the future",
    "check": "hold a suite to its blessed numbers",
    "bless": "write new baselines, with a reason",
    "nightly": "run, check and report a suite",
    "diff": "compare two snapshots",
    "reproduce": "hold runs to published tables",
}
COMMANDS = (
    Command(
        "audit",
        "audit:audit_configuration",
        """\
Prove that no prediction of an experiment used what was not known when it was made.

  static    what the finished run recorded: reads, borders, rows, labels. Free.
  sampled   also replaces the whole market after two decisions by another one: predictions made before must be the same
            bits, and those made after must know nothing of the real market. At most twice the run.
  full      also after every other decision, and which learning times are used.

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
)

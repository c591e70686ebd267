"""`bench run` as a Hydra application: options, composition, sweepers, launchers, callbacks and files of `@hydra.main`.

What `hydra.main` does around a job the command does itself, for two reasons: a mistake of the user has one message, one
exit code and no traceback; and a configuration is composed once instead of twice, which start-up time depends on.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, configure_log, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from harness.audit.audited import run_audited
from harness.audit.verdict import Verdict
from harness.cli.application import parsers
from harness.cli.declaration import INFO, SHOWN
from harness.config import ExperimentConfig, parse_overrides
from harness.config.compose import MAIN, composing, refuse_sweep
from harness.config.loader import Loader, given_overrides, job_config, search_path_of
from harness.errors import ConfigError, HarnessError, closest
from harness.execution.progress import Observer, PlainObserver, Silent, telling
from harness.integrations.attempts import noted
from harness.run.dispatch import Dispatched
from harness.run.experiment import ExperimentResult
from harness.run.job import job_record, output_folder, provisional, settle
from harness.run.stages import Cache
from harness.store.artifacts import ArtifactStore, MemoryCache

_NAME = "bench"  # of the job, `hydra.job.name`


class Job:
    """One experiment: what Hydra's launchers run.

    In another process it is made anew, tells nobody of its progress, and puts every stage into the store, where the
    cells of a sweep meet.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer, self._is_elsewhere = observer or Silent(), observer is None
        self._memory, self._lone = MemoryCache(), False
        self._prepared: dict[int, ExperimentConfig] = {}
        self._dispatched: Dispatched | None = None  # of the prepared ones
        self.ended: tuple[ExperimentResult, Verdict | None] | None = None

    def __reduce__(self) -> tuple[type[Job], tuple[()]]:
        return Job, ()

    def prepare(self, configs: Mapping[int, ExperimentConfig]) -> None:
        """Let an executor's workers make what the jobs of these numbers need, before they run in this process."""
        self._prepared = dict(configs)
        self._dispatched = Dispatched(list(configs.values()), self.observer, self._memory)

    def __call__(self, cfg: DictConfig) -> dict[str, Any]:
        """Run the experiment of a composed configuration, and return plain data, see `job_record`."""
        began, hydra = time.perf_counter(), HydraConfig.get()
        try:
            number = hydra.job.get("num")  # type: ignore[attr-defined]
            self._lone = number is None
            config = self._prepared.pop(number, None)
            if config is None:
                config = job_config(cfg, HydraConfig.instance().cfg)  # type: ignore[arg-type]
                self._dispatched = None
            # The sweeper of ours checks and tracks the whole; a job that nobody ranks does it itself.
            is_alone = number is None or hydra.runtime.choices["hydra/sweeper"] != _NAME
            result = (self._tracked if is_alone else self._run)(config, output_folder(hydra))
            if not is_alone and self.ended is not None and (verdict := self.ended[1]) is not None and not verdict.clean:
                self.observer.notice(f"{config.case_name}: {verdict.summary}")
        except HarnessError:
            raise
        except Exception as error:
            if self._is_elsewhere:  # where the error's own class may not be known
                from harness.run.sweep import JobCrashError, trace_of

                raise JobCrashError(f"{type(error).__name__}: {error}", trace_of(error)) from None
            raise
        elsewhere = result.seconds_elsewhere
        return job_record(result, time.perf_counter() - began + (elsewhere or 0.0), elsewhere)

    def _tracked(self, config: ExperimentConfig, folder: Path | None) -> ExperimentResult:
        """Run an experiment, and send it where runs are tracked, also when it does not end."""
        config.tracking.check()
        with noted(config, None, self.observer) as notes:
            result = self._run(config, folder)
            if notes is not None:
                notes.whole(result.folder)
            self.track(config, result.folder)
        return result

    def track(self, config: ExperimentConfig, folder: Path) -> None:
        """Send the folder of a run or sweep, with its report, where runs are tracked."""
        from harness.integrations.tracking import NoTracking

        if not isinstance(config.tracking, NoTracking):
            from harness.cli.report import add_report

            observer = self.observer if isinstance(self.observer, PlainObserver) else PlainObserver(lambda _: None)
            add_report(folder, observer, ArtifactStore(Path(config.output.store)))
            config.tracking.send([folder], Path(config.output.runs), observer)

    def _run(self, config: ExperimentConfig, folder: Path | None) -> ExperimentResult:
        dispatched = self._dispatched or Dispatched([config], self.observer, self._memory, lone=self._lone)
        done, cache = dispatched.work_of(config), dispatched.cache_of(config)
        if self._is_elsewhere:
            cache = Cache.of(config, self._memory, shared=True)
        result, verdict = run_audited(config, self.observer, cache, folder)
        if done is not None:
            own, memory = result.cost, max(result.cost.memory_mb, done.memory_mb)
            cost = replace(own, cpu=own.cpu + done.cpu, worker_cpu=done.cpu, workers=done.workers, memory_mb=memory)
            cost = replace(cost, stored=max(own.stored - done.fitted, 0))
            result = replace(result, reused=False, seconds_elsewhere=done.seconds, cost=cost)
        self.ended = result, verdict
        return result


class Application:
    """A command of `bench run`, composed: whether it sweeps, what it shows, what it runs.

    Entered, it is the Hydra application of this process; left, Hydra and `logging` are as they were before.
    """

    hydra: Hydra
    tree: DictConfig  # the composed configuration, Hydra's own under ``hydra``

    def __init__(self, arguments: Namespace, observer: PlainObserver) -> None:
        self._given, self._observer = arguments, observer
        self.name: str = arguments.config_name or MAIN
        self.overrides, self._stack = _overrides_of(arguments), contextlib.ExitStack()

    def __enter__(self) -> Application:
        with contextlib.ExitStack() as stack, telling(self._observer, "configuration"):
            stack.enter_context(_as_before())
            path = search_path_of(self._given.config_path, self._given.config_dir)
            is_query = self._given.shell_completion  # answers with what fits, and refuses nothing
            self.loader = ConfigLoaderImpl(path) if is_query else Loader(path)
            self.hydra = Hydra(task_name=_NAME, config_loader=self.loader)
            GlobalHydra.instance().clear()
            GlobalHydra.instance().initialize(self.hydra)
            if not (is_query or self._given.info or self._given.hydra_help):
                self.tree = self._composed()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _composed(self) -> DictConfig:
        """Return the configuration of a job or of a sweep: of what the command says, or else ``hydra.mode``."""
        swept = [o for o in parse_overrides(self.overrides) if o.is_sweep_override()]
        mode = RunMode.MULTIRUN if self._given.multirun or (swept and not self._given.cfg) else RunMode.RUN
        tree = self.hydra.compose_config(self.name, self.overrides, mode)
        if mode is RunMode.MULTIRUN and tree.hydra.mode is not RunMode.MULTIRUN:
            refuse_sweep(swept[0])
        if mode is RunMode.RUN and tree.hydra.mode is RunMode.MULTIRUN and not self._given.cfg:
            tree = self.hydra.compose_config(self.name, self.overrides, RunMode.MULTIRUN)
        if not self._given.cfg:
            tree.hydra.mode = tree.hydra.mode or RunMode.RUN
            configure_log(tree.hydra.hydra_logging, tree.hydra.verbose)
            if tree.hydra.verbose:  # also what Hydra found where
                self.hydra.compose_config(self.name, self.overrides, mode, with_log_configuration=True)
        return tree

    @property
    def is_sweep(self) -> bool:
        return bool(self.tree.hydra.mode is RunMode.MULTIRUN)

    def shown(self) -> str | None:
        """Return the text of a command that only shows something; None for one that runs something."""
        given = self._given
        if given.cfg:
            return self._configuration(given.cfg, given.package, resolve=given.resolve)
        with composing(self.overrides, self.loader.get_group_options):
            if given.info:
                return _printed(lambda: self.hydra.show_info(given.info, self.name, self.overrides, RunMode.RUN))
            if given.hydra_help:
                # Hydra's own parser has options that are none here, and cannot be made with Python 3.14.
                return _printed(lambda: self.hydra.hydra_help(self.name, parsers("run")["run"], given))
            if given.shell_completion:
                return _printed(self._complete)
        return None

    def _configuration(self, what: str, package: str | None, *, resolve: bool) -> str:
        """Return the composed configuration as YAML; below `package` only."""
        HydraConfig.instance().set_config(self.tree)
        OmegaConf.set_readonly(self.tree.hydra, None)
        if resolve:
            try:
                OmegaConf.resolve(self.tree)
            except OmegaConfBaseException as error:
                text, got = "A reference in the configuration cannot be resolved.", str(error).splitlines()[0]
                expected = "${KEY} of a key that exists, or ${oc.env:NAME} of a variable that is set"
                raise ConfigError(text, where=error.full_key or "--resolve", got=got, expected=expected) from error
        tree = self.hydra.get_sanitized_cfg(self.tree, what)
        whole = package in (None, "_global_")
        node = tree if whole else _part(tree, str(package))
        if node is None:
            keys = [str(key) for key in tree]
            text, expected = "There is no such part of the configuration.", ", ".join(keys)
            raise ConfigError(text, where="--package", got=package, expected=expected, hint=closest(str(package), keys))
        if not isinstance(node, Container):
            return f"{node}\n"
        return f"{'' if whole else f'# @package {package}'}\n{OmegaConf.to_yaml(node)}".lstrip("\n")

    def _complete(self) -> None:
        """Answer a shell's question, or print what makes it ask; `bench run` is the application that it asks about."""
        line = os.environ.get("COMP_LINE")
        if line is not None:
            os.environ["COMP_LINE"] = re.sub(r"^(\S+)\s+run\b", r"\1", line)
        try:
            self.hydra.shell_completion(self.name, self.overrides)
        except (ValueError, KeyError) as error:
            expected = "install=SHELL or uninstall=SHELL, of bash, zsh or fish; a shell itself asks with query=SHELL"
            got = " ".join(self.overrides) or None
            raise ConfigError("A shell is missing.", where="--shell-completion", got=got, expected=expected) from error
        finally:
            if line is not None:
                os.environ["COMP_LINE"] = line

    def run(self) -> tuple[ExperimentResult, Verdict | None]:
        """Run the one job; raises what it has raised."""
        job, callbacks = Job(self._observer), Callbacks(self.tree)
        with provisional(Path(str(self.tree.hydra.run.dir))):
            callbacks.on_run_start(config=self.tree, config_name=self.name)
            returned = run_job(
                hydra_context=HydraContext(self.loader, callbacks),
                task_function=job,
                config=self.tree,
                job_dir_key="hydra.run.dir",
                job_subdir_key=None,
            )
            callbacks.on_run_end(config=self.tree, config_name=self.name, job_return=returned)
            settle(returned)
        if job.ended is None:
            raise vars(returned)["_return_value"]
        return job.ended

    def sweep(self) -> object:
        """Run the sweep, and return what its sweeper does."""
        callbacks = Callbacks(self.tree)
        callbacks.on_multirun_start(config=self.tree, config_name=self.name)
        with composing(self.overrides, self.loader.get_group_options):
            sweeper = Plugins.instance().instantiate_sweeper(
                config=self.tree,
                hydra_context=HydraContext(self.loader, callbacks),
                task_function=Job(self._observer),
            )
        with provisional(Path(str(self.tree.hydra.sweep.dir))):
            found: object = sweeper.sweep(arguments=given_overrides(self.tree))
            for returned in returns_of(found):
                settle(returned)
        callbacks.on_multirun_end(config=self.tree, config_name=self.name)
        return found


def returns_of(found: object) -> list[JobReturn]:
    """Return what jobs have returned to a sweeper that ranks nothing, such as Hydra's own."""
    batches = [batch for batch in found if isinstance(batch, Sequence)] if isinstance(found, list) else []
    return [returned for batch in batches for returned in batch if isinstance(returned, JobReturn)]


def _overrides_of(given: Namespace) -> list[str]:
    """Return the overrides of a command, its options that are settings of Hydra's among them."""
    overrides = list(given.overrides)
    for name, known in (("cfg", SHOWN), ("info", INFO)):
        value = getattr(given, name)
        if value and value not in known:
            what, hint = f"--{name} shows no such thing.", closest(value, known)
            raise ConfigError(what, where=f"--{name}", got=value, expected=", ".join(known), hint=hint)
    if given.cfg == "":
        given.cfg, given.resolve = "job", True
    given.info = "all" if given.info == "" else given.info
    names = ("run", "multirun", "cfg", "info", "hydra_help", "shell_completion")
    asked = [f"--{name.replace('_', '-')}" for name in names if getattr(given, name)]
    if len(asked) > 1:
        raise ConfigError("A command does one thing.", where=" ".join(asked), expected=f"one of {', '.join(asked)}")
    for name in ("package", "resolve"):
        if getattr(given, name) and not given.cfg:
            raise ConfigError(f"--{name} says how --cfg prints.", where=f"--{name}", expected=f"--cfg job --{name} …")
    if given.multirun and any(text.lstrip("+") == "hydra.mode=RUN" for text in overrides):
        raise ConfigError(
            "A command does one thing.", where="hydra.mode", got="RUN, and --multirun", expected="one of them"
        )
    for name in ("sort_by", "reference"):
        if (value := getattr(given, name)) is not None:
            overrides.append(f"hydra.sweeper.{name}={QuotedString(value, Quote.double).with_quotes()}")
    return [*overrides, "hydra.mode=MULTIRUN"] if given.multirun else overrides


def _part(tree: DictConfig, key: str) -> Any:
    """Return what stands at a dotted key, or what is written there where it refers to what only a job has."""
    try:
        return OmegaConf.select(tree, key)
    except InterpolationResolutionError:
        above, _, last = key.rpartition(".")
        return OmegaConf.to_container(OmegaConf.select(tree, above) if above else tree, resolve=False)[last]  # type: ignore[call-overload, index]


def _printed(show: Callable[[], object]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        show()
    return out.getvalue()


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    """Leave Hydra's state and the root logger as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    applied, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    version.setbase("1.3")
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = applied, config

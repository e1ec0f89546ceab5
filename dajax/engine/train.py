"""The only training loop: data -> train step -> log -> checkpoint -> evaluate, for every method and
every stage.
"""

import contextlib
import dataclasses
import pathlib
import time
import types
import zlib
from typing import Any

import jax
import numpy as np

from dajax import console, parallel, processes
from dajax.engine import log, memory, teacher
from dajax.engine.checkpoint import Checkpoints
from dajax.engine.profiling import Profile
from dajax.engine.recorder import FollowingRecorder, Recorder, not_finite
from dajax.engine.signals import StopFlag
from dajax.errors import StopRequested, UserError
from dajax.methods import interface
from dajax.schedule import fixed_length
from dajax.settings import part_of_config


@dataclasses.dataclass(frozen=True)
class Stage:
    """What `fit` needs to know of one stage.

    Attributes:
      name: key of the stage in the config.
      config: the run's; `stage_config`: the stage's own part of it, config[name].
      method: module of dajax.methods; `model`: its network; `data`: the task's feed; `task`: module
        of dajax.tasks.
      directory: <workdir>/<name>.
      initial_state: f() -> TrainState at step 0, with the weights that the stage begins with; not
        asked for when resuming.
      random_state: f() -> TrainState of the same shapes, from random weights; the template of the
        checkpoints.
      stop: StopFlag.
      trackers: further places for figures and pictures, see wandb_run.WandbRun.of_stage.
    """

    name: str
    config: Any
    stage_config: Any
    method: types.ModuleType
    model: Any
    data: Any
    task: types.ModuleType
    directory: pathlib.Path
    initial_state: Any
    random_state: Any
    stop: StopFlag
    trackers: tuple = ()

    def starting_state(self):
        """`initial_state` as the first process finds it, in every process.

        Raises:
          UserError: what the stage begins with is not there, or does not fit.
        """
        if processes.count() == 1:
            return self.initial_state()
        state, problem = _zeros(self.random_state), ""
        if processes.is_first():
            try:
                state = self.initial_state()
            except UserError as error:
                problem = str(error)
        if problem := processes.from_first_object(lambda: problem):
            raise UserError(problem)
        return processes.from_first(state)

    def schedule(self, state):
        """Where the stage stands."""
        if hasattr(self.method, "schedule"):
            return self.method.schedule(state, config=self.stage_config)
        return fixed_length(int(state.step), self.stage_config.steps)

    def is_boundary(self, step, where):
        """Whether an evaluation is due after `step` steps: the end of the stage, of a loop, or
        every evaluate_every steps.
        """
        every = self.stage_config.evaluate_every
        return step > 0 and (
            step in (where.refresh_at, where.last_step)
            or where.finished
            or (every > 0 and step % every == 0)
        )

    def next_boundary(self, step, where):
        """The step at which the coming segment ends."""
        ends = [where.last_step if where.refresh_at is None else where.refresh_at]
        if self.stage_config.evaluate_every > 0:
            ends.append(
                (step // self.stage_config.evaluate_every + 1) * self.stage_config.evaluate_every
            )
        return min(ends)


def _zeros(make_state):
    """A state of the same shapes, of zeros."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make_state))


_MAX_TERMS = 10  # figures of a refresh on the terminal; the file has all


# What a checkpoint's meta holds since the first version; one without checksums is held to it.
_META_TYPES = {"metrics_bytes": int, "evaluated_at": int, "report": (dict, type(None))}


def compile_step(stage):
    """The stage's train step, compiled for its devices; its random key is folded with the step, so
    nothing random is stored.
    """

    def step(state, batch, rng, axis_name):
        rng = jax.random.fold_in(rng, state.step)
        after, metrics = stage.method.train_step(
            state, batch, rng, config=stage.stage_config, model=stage.model, axis_name=axis_name
        )
        return teacher.follow(state, after, stage.stage_config, stage.method), metrics

    return parallel.compile_train_step(step, stage.data.devices)


def fit(stage):
    """Runs a stage to its end, from wherever it stands.

    Everything that changes lives in the TrainState and every batch is a function of (seed, step),
    so a run that was stopped at any moment, by whatever means, ends with the same bits as one that
    was not.

    Returns:
      (TrainState on the host, report of the last evaluation or None).

    Raises:
      StopRequested: SIGTERM or Ctrl-C; the state has been saved.
      UserError: a non-finite loss, a full disk, data that cannot be read.
    """
    runtime = stage.config.runtime
    if not processes.is_first():
        return _run(stage, None, FollowingRecorder(stage), *_begin(stage, None))
    with Checkpoints(
        stage.directory / "checkpoints", runtime.keep_checkpoints, runtime.keep_every
    ) as checkpoints:
        state, meta = _begin(stage, checkpoints)
        recorder = Recorder(stage, int(state.step), meta)
        return _run(stage, checkpoints, recorder, state, meta)


def _begin(stage, checkpoints):
    """(state, meta) from which the stage goes on: the first process's, which alone has checkpoints
    and looks at them.
    """
    has_saved = processes.from_first_object(lambda: checkpoints.latest_step() is not None)
    if not has_saved:
        meta = {"metrics_bytes": 0, "event_bytes": {}, "evaluated_at": 0, "report": None}
        return stage.starting_state(), meta
    state, saved = _zeros(stage.random_state), {}
    if processes.is_first():
        state, saved = checkpoints.restore(jax.eval_shape(stage.random_state), _META_TYPES)
    state, saved = processes.from_first(state), processes.from_first_object(lambda: saved)
    console.say(f"{stage.name}: continues at step {int(state.step)}")
    # a checkpoint of the version before knows nothing of event files
    return state, {"event_bytes": None} | saved


def _run(stage, checkpoints, recorder, state, meta):
    loop = _Loop(stage, checkpoints, recorder, state, meta)
    try:
        loop.run()
    finally:
        recorder.close()
    return loop.state, loop.meta["report"]


class _Loop:
    """One call of `fit`: the state, where its files are, and what the last checkpoint knows.
    `checkpoints` is None in a process that does not write.
    """

    def __init__(self, stage, checkpoints, recorder, state, meta):
        self.stage = stage
        self.checkpoints = checkpoints
        self.recorder = recorder
        self.state = state
        self.meta = meta
        self.train_step = compile_step(stage)
        self.rng = jax.random.fold_in(
            jax.random.key(stage.config.seed), zlib.crc32(stage.name.encode())
        )
        self.progress = None
        self.profile = Profile(
            stage.name,
            stage.config.runtime.profile if processes.is_first() else "",
            stage.directory / "profile",
            int(state.step),
        )
        # a stage starts from this checkpoint, or at step 0, which needs none
        self.saved_at = int(state.step)
        self.compiled = set()  # of "evaluation" and "refresh"

    def run(self):
        try:
            self.run_all()
        except StopRequested:
            self.save()
            if self.checkpoints is not None:
                self.checkpoints.wait()
            raise
        finally:
            if self.progress is not None:
                self.progress.close()
            self.profile.close()

    def run_all(self):
        """Steps, refreshes and evaluations until the stage is finished."""
        stage = self.stage
        with part_of_config(f"config.{stage.name}"):
            while True:
                where, step = stage.schedule(self.state), int(self.state.step)
                if stage.is_boundary(step, where) and self.meta["evaluated_at"] != step:
                    self.evaluate(step)
                if where.finished:
                    return
                if where.refresh_at == step:
                    self.refresh(step)
                else:
                    self.segment(step, stage.next_boundary(step, where), where.last_step)

    def segment(self, start, stop, last_step):
        """Steps [start, stop); saves every runtime.checkpoint_every and keep_every steps."""
        stage = self.stage
        plan = stage.method.plan(self.state, data=stage.data, config=stage.stage_config)
        with contextlib.closing(stage.data.steps(plan, start, stop)) as stream:
            self.train(stream, start, stop, last_step)

    def train(self, stream, start, stop, last_step):
        """The steps [start, stop) on the batches of a stream."""
        stage = self.stage
        for step in range(start + 1, stop + 1):
            self.profile.before(step)
            asked = time.monotonic()
            batch = next(stream)
            waited = time.monotonic() - asked
            if self.progress is None:
                memory.report(
                    stage.name, self.train_step, (self.state, batch, self.rng), stage.data.devices
                )
                stage.stop.busy()  # until here a signal has nothing to wait for
                rows = sum(len(part["mask"]) for part in batch.values()) * processes.count()
                self.progress = console.Progress(
                    stage.name, start, rows, stage.config.runtime.report_seconds
                )
            self.state, metrics = self.train_step(self.state, batch, self.rng)
            self.profile.after(step, metrics)
            self.recorder.add(step, metrics)
            self.progress.update(step, last_step, waited, self.recorder.latest)
            if step % stage.config.runtime.log_every == 0:
                self.recorder.show(step, "throughput", self.progress.throughput())
            stage.stop.check_between_steps()
            runtime = stage.config.runtime
            is_kept = runtime.keep_every and step % runtime.keep_every == 0
            if (step % runtime.checkpoint_every == 0 or is_kept) and step != stop:
                self.save()

    @contextlib.contextmanager
    def _between_steps(self, work):
        """Excludes the enclosed time from the step rate, and says what it goes into where that
        still has to be compiled.
        """
        self.recorder.drain()
        begin = time.monotonic()
        if work not in self.compiled:
            console.say(f"{self.stage.name}: compiling and running the first {work} ...")
            self.compiled.add(work)
        yield
        if self.progress is not None:
            self.progress.pause(time.monotonic() - begin)

    def evaluate(self, step):
        """Evaluates on the target and saves; the report is for the log only, nothing in training
        reads it.
        """
        stage = self.stage
        if not interface.is_evaluated(stage.method, stage.stage_config):
            self.meta = self.meta | {"evaluated_at": step}
            return self.save()
        with self._between_steps("evaluation"):
            evaluation = stage.task.evaluate(
                teacher.predicting(self.state, stage.stage_config),
                data=stage.data,
                model=stage.model,
                config=stage.config,
                stage_config=stage.stage_config,
            )
            report = evaluation.report
            self.recorder.evaluation(step, evaluation)
            if report is not None:
                console.say(f"{stage.name}: step {step}, {evaluation.headline}")
            self.meta = self.meta | {"evaluated_at": step, "report": report}
            self.save()

    def refresh(self, step):
        """Lets the method do its work between loops: clustering, pseudo-labels."""
        stage = self.stage
        with self._between_steps("refresh"):
            begin = time.monotonic()
            refreshed, summary, notes = stage.method.refresh(
                self.state, data=stage.data, config=stage.stage_config, model=stage.model
            )
            self.state = teacher.keep(self.state, refreshed, stage.stage_config)
            # what each process computes alone, of the same numbers, may differ in its last bits
            self.state = processes.from_first(self.state)
            if not processes.is_first():
                return
            summary = stage.task.judge_refresh(self.state, data=stage.data) | summary
            warnings = stage.task.warn_of_refresh(
                summary, log.earlier_refreshes(stage.directory, stage.data), data=stage.data
            )
            self.recorder.write(
                step, "refresh", summary | ({"warnings": warnings} if warnings else {})
            )
            numbers = {key: x for key, x in summary.items() if isinstance(x, (int, float))}
            terms = [f"{name} {value:.4g}" for name, value in list(numbers.items())[:_MAX_TERMS]]
            console.say_list(
                f"{stage.name}: refresh at step {step} in {time.monotonic() - begin:.1f} s: ", terms
            )
            for note in [*notes, *(f"warning: {warning}" for warning in warnings)]:
                console.say_wrapped(f"{stage.name}: {note}")

    def save(self):
        """A checkpoint of this very step, unless there is one already; the first process writes it.

        Raises:
          UserError: the disk is full, or what would be saved is not finite.
        """
        self.recorder.drain()
        step = int(self.state.step)
        if step == self.saved_at:
            return
        if self.checkpoints is not None:
            self._check_finite(step)
            self.meta = self.meta | self.recorder.lengths()
            self.checkpoints.save(self.state, self.meta)
        self.saved_at = step

    def _check_finite(self, step):
        """The figures of a step are those before its update, so they do not tell whether the update
        has left numbers.
        """
        networks = {"params": self.state.params, "batch_stats": self.state.batch_stats}
        for path, leaf in jax.tree_util.tree_leaves_with_path(networks):
            if not np.isfinite(np.asarray(leaf)).all():
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise UserError(not_finite(self.stage, f"{name} is not finite after step {step}"))

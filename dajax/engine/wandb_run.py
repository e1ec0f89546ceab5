"""Weights & Biases, where `config.runtime.wandb` names a project. A workdir has one run there, and
goes on with it when it is resumed. The package is not needed otherwise.
"""

import contextlib
import importlib.util
import json

from PIL import Image

from dajax import processes
from dajax.engine import json_files
from dajax.errors import StopRequested, UserError

FILE = "wandb.json"  # {config.runtime.wandb: id of the run there}
_REMEDY = "remove that file, and the same command begins a new run there"


def check(config):
    """Raises UserError where W&B is asked for and not installed."""
    project = config.runtime.wandb
    spec = importlib.util.find_spec("wandb") if project else None
    # W&B leaves folders called wandb, which Python would take for a package without a file
    if project and (spec is None or spec.origin is None):
        raise UserError(
            f"config.runtime.wandb='{project}': the package wandb is not installed: pip install"
            " wandb, or leave --config.runtime.wandb out"
        )


class WandbRun:
    """The run of a workdir; without a project it does nothing, nor in a process that does not
    write.

    Args:
      config: ConfigDict. Its runtime.wandb is "PROJECT", "ENTITY/PROJECT" or "".
      workdir: pathlib.Path, whose name the run has.

    Raises:
      UserError: W&B refuses to begin: nobody is logged in, or there is no such entity.
    """

    def __init__(self, config, workdir):
        self._run, project = None, config.runtime.wandb
        if not project or not processes.is_first():
            return
        import wandb

        path = workdir / FILE
        known = json_files.read(path, _REMEDY) if path.exists() else {}
        entity, _, name = project.rpartition("/")
        try:
            self._run = wandb.init(
                project=name,
                entity=entity or None,
                id=known.get(project),
                resume="allow",
                name=workdir.resolve().name,
                dir=str(workdir),
                config=json.loads(config.to_json()),
            )
        except (wandb.Error, ValueError) as error:
            raise UserError(
                f"config.runtime.wandb='{project}': {' '.join(str(error).split())}; log in with"
                " `wandb login`, set WANDB_MODE=offline, or leave --config.runtime.wandb out"
            ) from error
        json_files.write(path, known | {project: self._run.id})
        for stage in config.stages:  # each counts its own steps
            self._run.define_metric(f"{stage}/step")
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")

    def of_stage(self, name):
        """(what a stage's figures go to,), () without a project."""
        return () if self._run is None else (_StageOfRun(self._run, name),)

    def close(self, failed):
        """Sends what is left, and says whether an error has ended the training."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))


@contextlib.contextmanager
def begun(config, workdir):
    """WandbRun(config, workdir), closed at the end; a second Ctrl-C waits for nothing."""
    run = WandbRun(config, workdir)
    try:
        yield run
    except StopRequested:
        run.close(failed=False)
        raise
    except Exception:
        run.close(failed=True)
        raise
    run.close(failed=False)


class _StageOfRun:
    """A stage's figures, as tensorboard.TensorBoard takes them."""

    def __init__(self, run, stage):
        self._run, self._stage = run, stage

    def scalars(self, step, prefix, figures):
        """Writes numbers as "stage/prefix/name"."""
        named = {f"{self._stage}/{prefix}/{name}": value for name, value in figures.items()}
        if named:
            self._run.log(named | {f"{self._stage}/step": step})

    def picture(self, step, name, picture):
        """Writes uint8 [H, W, 3]."""
        import wandb

        image = wandb.Image(Image.fromarray(picture))
        self._run.log({f"{self._stage}/pictures/{name}": image, f"{self._stage}/step": step})

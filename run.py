"""dajax from the command line.

  python run.py --config=configs/can.py
  python run.py --config=configs/can.py:office31,root=/data/office31,source=amazon,target=webcam,weights=resnet50-19c8e357.pth
  python run.py --config=configs/can.py:ablations --seeds=0,1,2
"""

import os
import shlex
import sys
from importlib import metadata

# Before TensorFlow and JAX are imported. TensorFlow only reads images: no accelerator, no chatter.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")  # bare metal, containers, WSL
if metadata.entry_points(group="jax_plugins", name="xla_cuda13") and not any(map(os.path.exists, _DRIVERS)):
    # JAX for CUDA on a machine without an NVIDIA driver would print a stack trace before it falls back to the CPU.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from dajax import recipe  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/NAME.py[:variant][,key=value...]", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where results go; runs/<name of the config> by default")
_SEEDS = flags.DEFINE_string("seeds", None, "0,1,2: one run for each, and one table of them all")
_TASKS = flags.DEFINE_string("tasks", None, "source=a,target=b;source=b,target=a: the same for arguments of the config, [variant,]key=value,...")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "check_data"], "train (and resume), evaluate the newest checkpoints, or read every file of the data"
)


def _parse_flags(argv):
    """absl's own parsing, with a mistake shown as one line. ml_collections raises the rest: unknown keys, wrong types."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise flags.Error(f"unexpected argument '{rest[1]}'; overrides are written --config.key=value")
        if _CONFIG.value is None:
            raise flags.Error("--config is missing, for example --config=configs/can.py")
        _ = _CONFIG.value.stages  # a config file that could not be read complains at the first use
        if _is_sweep() and _MODE.value != "train":
            raise flags.Error(f"--seeds and --tasks are for training; leave them out with --mode={_MODE.value}")
    except recipe.MISTAKES as error:
        sys.exit("error: " + recipe.one_line(error))
    return rest


def _is_sweep():
    return _SEEDS.value is not None or _TASKS.value is not None


def main(_):
    """Runs the stages of the config; exit status 0 done, 1 a mistake to mend, 128 + signal when stopped."""
    from dajax.errors import StopRequested, UserError
    from data_pipeline.errors import DataError

    config = _CONFIG.value
    workdir = _WORKDIR.value or os.path.join("runs", f"{config.name}-sweep" if _is_sweep() else f"{config.name}-seed{config.seed}")
    try:
        if _is_sweep():
            _sweep(config, workdir)
        else:
            _run(config, workdir)
    except StopRequested as stop:
        print(f"stopped; everything so far is saved under {workdir}; to continue, run the same command again:\n  {shlex.join(sys.orig_argv)}")
        sys.exit(128 + stop.signal)
    except (UserError, DataError, OSError) as error:
        sys.exit(f"error: {error}")


def _run(config, workdir):
    import jax

    from dajax import check_data, stages

    logging.set_verbosity(logging.FATAL)  # Orbax logs its housekeeping, and whole stack traces of errors that it also raises
    if config.runtime.devices > 1:  # a CPU passes for as many devices as asked; other platforms have what they have
        jax.config.update("jax_num_cpu_devices", config.runtime.devices)
    if _MODE.value == "check_data":
        sys.exit(0 if check_data.run(config) else 1)
    stages.run(config, workdir, _MODE.value)


def _sweep(config, workdir):
    from dajax import sweep  # without jax: the accelerator belongs to the runs

    name = config_flags.get_config_filename(flags.FLAGS["config"])
    sweep.run(name, _SEEDS.value, _TASKS.value, recipe.overrides_in(sys.argv[1:]), workdir, default_seed=config.seed)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)

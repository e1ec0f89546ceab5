"""dajax from the command line.

  python run.py --config=configs/can.py
  python run.py --config=configs/can.py:office31,root=/data/office31,source=amazon,target=webcam --config.seed=1
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

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/NAME.py[:variant][,key=value...]", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where results go; runs/<name of the config> by default")
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
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit("error: " + _one_line(error))
    return rest


def _one_line(error):
    """The message of an error; of those that config_flags wraps with their stack trace, the message of the innermost one."""
    prefix = "unknown key: " if isinstance(error, (KeyError, AttributeError)) else ""
    text = error.args[0] if error.args else error
    text = str(text.args[0] if isinstance(text, KeyError) else text)  # str of a KeyError is quoted; ml_collections nests them
    if "Traceback (most recent call last)" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return prefix + " ".join(text.split())


def main(_):
    """Runs the stages of the config; exit status 0 done, 1 a mistake to mend, 128 + signal when stopped."""
    import jax

    from dajax import check_data, stages
    from dajax.errors import StopRequested, UserError
    from data_pipeline.errors import DataError

    logging.set_verbosity(logging.FATAL)  # Orbax logs its housekeeping, and whole stack traces of errors that it also raises
    config = _CONFIG.value
    workdir = _WORKDIR.value or os.path.join("runs", f"{config.name}-seed{config.seed}")
    if config.runtime.devices > 1:  # a CPU passes for as many devices as asked; other platforms have what they have
        jax.config.update("jax_num_cpu_devices", config.runtime.devices)
    try:
        if _MODE.value == "check_data":
            sys.exit(0 if check_data.run(config) else 1)
        stages.run(config, workdir, _MODE.value)
    except StopRequested as stop:
        print(f"stopped; everything so far is saved under {workdir}; to continue, run the same command again:\n  {shlex.join(sys.orig_argv)}")
        sys.exit(128 + stop.signal)
    except (UserError, DataError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)

"""dajax from the command line.

  python run.py --config=configs/can.py
  python run.py --config=configs/can.py:office31,root=/data/office31,source=amazon,target=webcam,weights=resnet50-19c8e357.pth
  python run.py --config=configs/can.py:ablations --seeds=0,1,2
"""

from dajax import signals, standard_streams  # without jax

if __name__ == "__main__":
    standard_streams.open_closed()
    signals.end_at_once()  # before anything that takes time, imports included

import os  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from importlib import metadata  # noqa: E402

# Before TensorFlow and JAX are imported. TensorFlow only reads images: no accelerator, no chatter, and no arithmetic that depends on
# what oneDNN finds on this machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")  # bare metal, containers, WSL
if metadata.entry_points(group="jax_plugins", name="xla_cuda13") and not any(map(os.path.exists, _DRIVERS)):
    # JAX for CUDA on a machine without an NVIDIA driver would print a stack trace before it falls back to the CPU.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

from absl import app, flags, logging  # noqa: E402
from ml_collections import ConfigDict, config_flags  # noqa: E402

from dajax import failures, locations, recipe  # noqa: E402
from dajax.errors import StopRequested, UserError, printable  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/NAME.py[:variant][,key=value...]", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where results go; runs/<name of the config> by default")
_SEEDS = flags.DEFINE_string("seeds", None, "0,1,2: one run for each, and one table of them all")
_TASKS = flags.DEFINE_string("tasks", None, "source=a,target=b;source=b,target=a: the same for arguments of the config, [variant,]key=value,...")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "check_data"], "train (and resume), evaluate the newest checkpoints, or read every file of the data"
)
_DEBUG = flags.DEFINE_bool("debug", False, "show the traceback of whatever ends the run, above the line that says what it was")


def _parse_flags(argv):
    """absl's own parsing, with a mistake shown as one line. ml_collections raises the rest: unknown keys, wrong types."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise flags.Error(f"unexpected argument '{rest[1]}'; overrides are written --config.key=value")
        if _CONFIG.value is None:
            raise flags.Error("--config is missing, for example --config=configs/can.py")
        getattr(_CONFIG.value, "stages", None)  # a file that could not be read complains here, at the first use
        if not isinstance(_CONFIG.value, ConfigDict):
            raise flags.Error("--config: get_config of that file gives no ConfigDict; see configs/base.py")
        if _is_sweep() and _MODE.value != "train":
            raise flags.Error(f"--seeds and --tasks are for training; leave them out with --mode={_MODE.value}")
    except recipe.MISTAKES as error:
        _fail(error, recipe.one_line(error))
    except Exception as error:  # a config is a program of its own
        _fail(error, f"the file that --config names cannot be read: {type(error).__name__}: {error}; correct it, --debug shows where")
    return rest


def _is_sweep():
    return _SEEDS.value is not None or _TASKS.value is not None


def main(_):
    """Runs the stages of the config; exit status 0 done, 1 a mistake to mend, 128 + signal when stopped."""
    config = _CONFIG.value
    workdir = locations.local_path(_WORKDIR.value or _default_workdir(config), "--workdir")
    try:
        if _is_sweep():
            _sweep(config, workdir)
        else:
            _run(config, workdir)
    except StopRequested as stop:
        where = sys.stderr if stop.signal == signal.SIGPIPE else sys.stdout
        again = f"to continue, run the same command again:\n  {shlex.join(sys.orig_argv)}"
        print(f"stopped; everything so far is saved under {workdir}; {again}", file=where, flush=True)
        sys.exit(128 + stop.signal)


def _default_workdir(config):
    return os.path.join("runs", f"{config.name}-sweep" if _is_sweep() else f"{config.name}-seed{config.seed}")


def _run(config, workdir):
    try:
        import jax
    except ValueError as error:  # JAX reads JAX_ENABLE_X64 and its like when it is imported
        raise UserError(f"JAX does not take a variable of the environment: {error}; correct or unset it") from error

    from dajax import check_data, stages

    logging.set_verbosity(logging.FATAL)  # Orbax logs its housekeeping, and whole stack traces of errors that it also raises
    stages.check_before_data(config)
    if config.runtime.devices > 1:  # a CPU passes for as many devices as asked; other platforms have what they have
        jax.config.update("jax_num_cpu_devices", config.runtime.devices)
    if _MODE.value == "check_data":
        sys.exit(0 if check_data.run(config) else 1)
    stages.run(config, workdir, _MODE.value)


def _sweep(config, workdir):
    from dajax import sweep  # without jax: the accelerator belongs to the runs

    name = config_flags.get_config_filename(flags.FLAGS["config"])
    overrides, words = recipe.overrides_in(sys.argv[1:]), ["--debug"] if _DEBUG.value else []
    sweep.run(name, _SEEDS.value, _TASKS.value, overrides, workdir, config.seed, words)


def _fail(error, line=None):
    """Ends the process with one line, and the traceback above it where --debug asks for it, also where flags could not be parsed."""
    if _DEBUG.value if flags.FLAGS.is_parsed() else "--debug" in sys.argv:
        traceback.print_exception(error)
    sys.exit(f"error: {failures.describe(error) if line is None else printable(line)}")


def _command_line():
    for stream in (sys.stdout, sys.stderr):  # a file name, or the terminal's own encoding, must not end a run
        stream.reconfigure(errors="backslashreplace")
    try:
        app.run(main, flags_parser=_parse_flags)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:  # the second Ctrl-C
        os.write(2, b"interrupted; what the last checkpoint has is saved; to continue, run the same command again\n")
        os._exit(128 + signal.SIGINT)  # threads that still write would be waited for
    except Exception as error:  # the one place that does: a person gets a line, and the rest with --debug
        _fail(error)


if __name__ == "__main__":
    _command_line()

"""The flags of run.py and of the command `dajax`, and what each mode does."""

import os
import pathlib
import shlex
import signal
import sys
import traceback

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from dajax.cli import failures, recipe
from dajax.engine import locations
from dajax.errors import StopRequested, UserError
from dajax.label_free import CHOICES, LAST

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "NAME or configs/NAME.py[:variant][,key=value...]", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "where results go; runs/<name of the config> by default"
)
_SEEDS = flags.DEFINE_string("seeds", None, "0,1,2: one run for each, and one table of them all")
_TASKS = flags.DEFINE_string(
    "tasks",
    None,
    "source=a,target=b;source=b,target=a: the same for arguments of the config and for settings,"
    " [variant,]key=value,config.key=value,...",
)
_PARALLEL = flags.DEFINE_integer(
    "parallel",
    None,
    "of --seeds and --tasks: so many runs at once, 1 by default; on GPUs each has one to itself",
    lower_bound=1,
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "check_data", "show", "predict", "export", "analyze"],
    "train (and resume), evaluate the newest checkpoints, read every file of the data, show the"
    " settings of the recipe; predict pictures, export a network, or write a report, with what the"
    " --workdir holds",
)
_IMAGES = flags.DEFINE_string(
    "images", None, "of --mode=predict: a folder of pictures, a pattern in quotes, or a video"
)
_WINDOW = flags.DEFINE_string(
    "window",
    None,
    "of --mode=predict, segmentation: HEIGHTxWIDTH; larger pictures go through overlapping windows"
    " of this size",
)
_FOLDERS = flags.DEFINE_enum(
    "folders",
    None,
    ["copy", "link"],
    "of --mode=predict, classification: copies or links the pictures into a folder for each class",
)
# The keys of dajax.export.formats, which imports jax.
_FORMAT_NAMES = ("stablehlo", "onnx", "savedmodel", "safetensors")
_FORMAT = flags.DEFINE_enum(
    "format", None, _FORMAT_NAMES, "of --mode=export: what kind of file is written"
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "of --mode=predict: the folder for the predictions; of --mode=export: the new file, of"
    " savedmodel the folder; of --mode=analyze: the folder for the report, WORKDIR/analysis by"
    " default",
)
_STAGE = flags.DEFINE_string(
    "stage",
    None,
    "of --mode=predict and --mode=export: the stage; the last one by default; of --mode=analyze:"
    " the only one whose network is looked at",
)
_WORKDIRS = flags.DEFINE_string(
    "workdirs", None, "of --mode=analyze, in place of --workdir: a,b,c, runs to compare"
)
_SAMPLES = flags.DEFINE_integer(
    "samples",
    None,
    "of --mode=analyze: images of each domain that the networks are shown; 1000 by default",
    lower_bound=1,
)
_SELECT = flags.DEFINE_enum(
    "select",
    None,
    CHOICES,
    "of --mode=eval, predict and export: the last snapshot (default), or the kept one that a rule"
    " picks without labels of the target",
)
# {mode: the flags that only such modes take, with what each needs; None: may be left out}
_OF_MODE = {
    "eval": {"select": None},
    "predict": {
        "images": "FOLDER",
        "out": "FOLDER",
        "stage": None,
        "window": None,
        "folders": None,
        "select": None,
    },
    "export": {"format": "stablehlo", "out": "PATH", "stage": None, "select": None},
    "analyze": {"workdirs": None, "out": None, "stage": None, "samples": None},
}
_OPENS_WORKDIR = ("predict", "export", "analyze")  # which says itself what it was begun with
_PRINT_CONFIG = flags.DEFINE_bool(
    "print_config", False, "of --mode=train and --mode=eval: every setting at the head of the run"
)
_DEBUG = flags.DEFINE_bool(
    "debug",
    False,
    "show the traceback of whatever ends the run, above the line that says what it was",
)


def _parse_flags(argv):
    """absl's own parsing, with a mistake shown as one line. ml_collections raises the rest: unknown
    keys, wrong types.
    """
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise flags.Error(
                f"unexpected argument '{rest[1]}'; overrides are written --config.key=value"
            )
        _check_flags_of_modes()
        is_optional = _MODE.value in _OPENS_WORKDIR and (_WORKDIR.value or _WORKDIRS.value)
        if _CONFIG.value is None and not is_optional:
            workdir = ", or --workdir=DIR of a run" if _MODE.value in _OPENS_WORKDIR else ""
            raise flags.Error(f"--config is missing, for example --config=configs/can.py{workdir}")
        # a file that could not be read complains here, at the first use
        getattr(_CONFIG.value, "stages", None)
        if _CONFIG.value is not None and not isinstance(_CONFIG.value, ConfigDict):
            raise flags.Error(
                "--config: get_config of that file gives no ConfigDict; see configs/base/common.py"
            )
        _check_processes()
        _check_table()
        if _is_sweep() and _MODE.value != "train" and not _is_table():
            raise flags.Error(
                f"--seeds and --tasks are for training; leave them out with --mode={_MODE.value}"
            )
        if _PRINT_CONFIG.value and _MODE.value not in ("train", "eval"):
            raise flags.Error(
                f"--print_config is for --mode=train and --mode=eval; with --mode={_MODE.value}"
                " leave it out, --mode=show prints a recipe"
            )
        if _PARALLEL.value is not None and not _is_sweep():
            raise flags.Error("--parallel is for --seeds and --tasks; leave it out")
    except recipe.MISTAKES as error:
        _fail(error, recipe.one_line(error))
    except Exception as error:  # a config is a program of its own
        _fail(
            error,
            f"the file that --config names cannot be read: {type(error).__name__}: {error}; correct"
            " it, --debug shows where",
        )
    return rest


def _check_flags_of_modes():
    """Raises flags.Error where flags of _OF_MODE are missing, or given to another mode."""
    own = _OF_MODE.get(_MODE.value, {})
    for name, example in own.items():
        if example is not None and not flags.FLAGS[name].value:
            raise flags.Error(f"--mode={_MODE.value} needs --{name}={example}; it is missing")
    if _WORKDIRS.value is not None and _WORKDIR.value is not None:
        raise flags.Error("--workdir and --workdirs: one run or several; leave one of them out")
    for name in {name for names in _OF_MODE.values() for name in names} - own.keys():
        if flags.FLAGS[name].value is not None:
            modes = " or ".join(f"--mode={mode}" for mode in _OF_MODE if name in _OF_MODE[mode])
            raise flags.Error(f"--{name} is for {modes}; leave it out")


def _is_table():
    return _CONFIG.value is not None and _CONFIG.value.get("task") == "table"


def _check_table():
    """Raises flags.Error for what a published table's recipe does not take."""
    if _is_table() and _MODE.value not in ("train", "show"):
        raise flags.Error(
            f"--mode={_MODE.value}: a table is no run; it has --mode=train and --mode=show, and its"
            " runs, which --mode=show names, have the others"
        )
    if _is_table() and _TASKS.value is not None:
        raise flags.Error("--tasks: a table has tasks of its own; leave it out")


def _check_processes():
    """Raises flags.Error where several processes are asked to share what one has to do."""
    coordinator = "" if _CONFIG.value is None else _CONFIG.value.runtime.coordinator
    what = "--seeds and --tasks" if _is_sweep() else f"--mode={_MODE.value}"
    if coordinator and (_is_sweep() or _MODE.value not in ("train", "eval")):
        raise flags.Error(
            f"config.runtime.coordinator='{coordinator}' is for a training run and for --mode=eval;"
            f" with {what} leave it out"
        )


def _is_sweep():
    return _is_table() or _SEEDS.value is not None or _TASKS.value is not None


def main(_):
    """Runs the stages of the config; exit status 0 done, 1 a mistake to mend, 128 + signal when
    stopped.
    """
    config = _CONFIG.value
    if _MODE.value == "show":
        cells = config.table.cells if _is_table() else ()
        runs = [f"--config={run}" for run in dict.fromkeys(x for cell in cells for x in cell[2])]
        print("\n".join([*recipe.lines_of(config), *runs]), flush=True)
        return
    workdir = None  # of several runs that are compared
    if _WORKDIRS.value is None:
        workdir = locations.local_path(_WORKDIR.value or _default_workdir(config), "--workdir")
    try:
        if _is_sweep():
            _sweep(config, workdir)
        else:
            _run(config, workdir)
    except StopRequested as stop:
        where = sys.stderr if stop.signal == signal.SIGPIPE else sys.stdout
        saved = _OUT.value if _MODE.value == "predict" or workdir is None else workdir
        again = f"to continue, run the same command again:\n  {shlex.join(sys.orig_argv)}"
        print(
            f"stopped; everything so far is saved under {saved}; {again}",
            file=where,
            flush=True,
        )
        sys.exit(128 + stop.signal)


def _default_workdir(config):
    if _is_table():
        return os.path.join("runs", "tables")  # which tables share
    return os.path.join(
        "runs", f"{config.name}-sweep" if _is_sweep() else f"{config.name}-seed{config.seed}"
    )


def _run(config, workdir):
    try:
        import jax
    except ValueError as error:  # JAX reads JAX_ENABLE_X64 and its like when it is imported
        raise UserError(
            f"JAX does not take a variable of the environment: {error}; correct or unset it"
        ) from error

    from dajax import joining
    from dajax.cli import analyze, check_data, export, predict
    from dajax.engine import stage_checks, stages

    # Orbax logs its housekeeping, and whole stack traces of errors that it also raises
    logging.set_verbosity(logging.FATAL)
    if config is not None:
        stage_checks.check_before_data(config)
    if _MODE.value in _OPENS_WORKDIR:
        values = {name: flags.FLAGS[name].value for name in _OF_MODE[_MODE.value]}
        if "select" in values:
            values["select"] = _SELECT.value or LAST
        folder = None if workdir is None else pathlib.Path(workdir)
        if _MODE.value == "export":
            export.run(config, folder, **values)
        elif _MODE.value == "analyze":
            analyze.run(config, folder, **values)
        elif not predict.run(config, folder, **values):
            sys.exit(1)
        return
    # a CPU passes for as many devices as asked; other platforms have what they have
    if config.runtime.devices > 1:
        jax.config.update("jax_num_cpu_devices", config.runtime.devices)
    if _MODE.value == "check_data":
        sys.exit(0 if check_data.run(config) else 1)
    with joining.joined(config.runtime, failures.describe):
        stages.run(config, workdir, _MODE.value, _SELECT.value or LAST, _PRINT_CONFIG.value)


def _sweep(config, workdir):
    from dajax.cli import sweep  # without jax: the accelerator belongs to the runs

    name = config_flags.get_config_filename(flags.FLAGS["config"])
    overrides = recipe.overrides_in(sys.argv[1:])
    words = [f"--{flag.name}" for flag in (_DEBUG, _PRINT_CONFIG) if flag.value]
    seeds, tasks, parallel = _SEEDS.value, _TASKS.value, _PARALLEL.value or 1
    if _is_table():
        from dajax.cli import table

        table.run(config, seeds, overrides, workdir, words, parallel)
        return
    sweep.run(name, seeds, tasks, overrides, workdir, config.seed, words, parallel)


def _fail(error, line=None):
    """Ends the process with one line, and the traceback above it where --debug asks for it, also
    where flags could not be parsed.
    """
    if _DEBUG.value if flags.FLAGS.is_parsed() else "--debug" in sys.argv:
        traceback.print_exception(error)
    message = f"error: {failures.describe(error) if line is None else failures.one_line(line)}"
    if _is_one_of_several():  # JAX would wait for the others, which are told and end as well
        print(message, file=sys.stderr, flush=True)
        os._exit(1)
    sys.exit(message)


def _is_one_of_several():
    return "dajax.processes" in sys.modules and sys.modules["dajax.processes"].count() > 1


def run():
    """Parses the command line, runs it, and ends the process with what came of it."""
    # a file name, or the terminal's own encoding, must not end a run
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        own = (_CONFIG, _WORKDIR, _SEEDS, _TASKS, _MODE, _IMAGES, _WINDOW, _FOLDERS, _FORMAT, _OUT)
        more = (_PARALLEL, _PRINT_CONFIG, _STAGE, _SELECT, _WORKDIRS, _SAMPLES, _DEBUG)
        for flag in (*own, *more):  # what --help shows
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])
        sys.argv[1:] = recipe.with_paths(sys.argv[1:])
        app.run(main, flags_parser=_parse_flags)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:  # the second Ctrl-C
        os.write(
            2,
            b"interrupted; what the last checkpoint has is saved; to continue, run the same command"
            b" again\n",
        )
        os._exit(128 + signal.SIGINT)  # threads that still write would be waited for
    # the one place that does: a person gets a line, and the rest with --debug
    except Exception as error:
        _fail(error)

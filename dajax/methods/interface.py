"""What a method is: a module with the functions of `Method`.

Arrays come by position, all else by keyword. A function names the keywords that it reads and takes
the others, and those that a later version adds, as `**_`. A positional argument that it does not
read begins with an underscore:

    def init(rng, images, *, config, model, **_):
    def train_step(state, batch, _rng, *, config, model, axis_name=None):

`plan` and `train_step` belong together, and so do `schedule` and `refresh`; a method has one pair
or both. With `train_step` alone it runs for config.steps steps. With `refresh` alone, as
pseudo_labels, it trains nothing, and nothing is evaluated. `at_start` and `check_data` need not be
there. A method for one of the tasks alone says so: TASK = "segmentation"; without TASK it is for
both. One that moves the stage's teacher itself says MOVES_TEACHER = True, see
dajax/engine/teacher.py.
"""

import inspect
from typing import Any, NamedTuple, Protocol

import jax

from dajax.errors import UserError
from dajax.schedule import Schedule
from dajax.settings import starts_of
from dajax.state import TrainState


class Sizes(NamedTuple):
    """Numbers of images that a method may need before it sees any.

    Attributes:
      source: labelled images, of all sources together.
      target: images of the target to adapt to.
      num_sources: 1, or the number of labelled domains.
    """

    source: int
    target: int
    num_sources: int


class Method(Protocol):
    """The functions of a method; `config` is the stage's own part of the config, config.<stage>."""

    def init(
        self, rng: jax.Array, images: jax.Array, /, *, config: Any, model: Any, sizes: Sizes
    ) -> TrainState:
        """The state at step 0.

        Args:
          rng: key; the same for every stage of a run.
          images: float32 [2, H, W, C], zeros, for their shape.
          model: Flax module, the network of the task.

        Raises:
          UserError: settings that cannot be meant, see dajax.settings.
        """

    def at_start(self, state: TrainState, /, *, config: Any, model: Any) -> TrainState:
        """The state at step 0 with the weights that the stage begins with, of a file or of another
        stage, and its teacher, where there is one: for what a method keeps of them. It is traced
        for its shapes, too, and then the weights are random.
        """

    def check_data(self, state: Any, /, *, data: Any, config: Any, model: Any) -> None:
        """Looks at what `plan` and `train_step` want of the data, before the first stage of the run
        begins.

        Args:
          state: of `at_start`, with jax.ShapeDtypeStruct in place of arrays.
          data: as of `plan`; what stages before this one make is not there yet.

        Raises:
          UserError: settings that do not fit the data.
        """

    def plan(self, state: TrainState, /, *, data: Any, config: Any) -> dict[str, Any]:
        """{part name: Part}: what the batch of every step until the next refresh consists of.

        Args:
          data: the task's feed, dajax/tasks/TASK/feed.py; what it offers are Parts.
            data.with_index(part) adds each row's number in its set, "index" (-1 in padding), and
            data.with_strong_view(part) a second view of the same rows, "strong_image", as
            config.data.strong_view describes it; of classification data.with_second_view(part),
            as its own transform does.
        """

    def train_step(
        self,
        state: TrainState,
        batch: dict[str, dict[str, jax.Array]],
        rng: jax.Array,
        /,
        *,
        config: Any,
        model: Any,
        axis_name: str | None,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """(the state after one step, {name: float32 scalar} for the log). Pure; compiled once a
        stage.

        Args:
          batch: {part name: {"image", "mask"[, "label"] and what plan has added}}, this device's
            rows.
          rng: key of this step, the same on every device.
          axis_name: of the devices, for the words of dajax.parallel; None on one device. Figures
            must be the same on every device.
        """

    def schedule(self, state: TrainState, /, *, config: Any) -> Schedule:
        """When the next refresh is due, and whether the stage is finished."""

    def refresh(
        self, state: TrainState, /, *, data: Any, config: Any, model: Any
    ) -> tuple[TrainState, dict[str, float], list[str]]:
        """(the new state, figures for the log, lines that the user should read). On the host:
        clustering, pseudo-labels.

        Of several processes each calls it, and in a pass over a set each sees some of the batches:
        dajax.processes.total adds up what they have found.
        """


PAIRS = (("plan", "train_step"), ("schedule", "refresh"))
FUNCTIONS = ("init", *PAIRS[0], *PAIRS[1])
OPTIONAL = ("at_start", "check_data")


def at_start(method, state, *, config, model):
    """What a method makes of the state that a stage begins with; the state itself where it has no
    `at_start`.
    """
    if not hasattr(method, "at_start"):
        return state
    return method.at_start(state, config=config, model=model)


def check_data(method, state, *, data, config, model):
    """Has a method that has a `check_data` look at the data; arguments as there."""
    if hasattr(method, "check_data"):
        method.check_data(state, data=data, config=config, model=model)


def is_evaluated(method, config):
    """Whether a stage has a network that no stage before it has: it has trained one, or averages
    several.
    """
    return hasattr(method, "train_step") or len(starts_of(config.init_from)) > 1


def check(method, where):
    """Refuses a module that is no method; the engine calls it before data are opened.

    Args:
      where: begins the message, "config.can.method='my_package.my_method'".

    Raises:
      UserError: a function is missing, or does not accept what it is called with.
    """
    found = {name for name in FUNCTIONS if callable(getattr(method, name, None))}
    if "init" not in found or not found & {"train_step", "refresh"}:
        raise UserError(
            f"{where} is no method: it has {', '.join(sorted(found)) or 'none'} of the functions"
            f" {', '.join(FUNCTIONS)}; see dajax/methods/interface.py"
        )
    for pair in PAIRS:
        if len(found & set(pair)) == 1:
            (there,) = found & set(pair)
            (lacking,) = set(pair) - found
            raise UserError(f"{where}: has {there} and no {lacking}; {_WHY[lacking]}")
    for name in sorted(found.union(name for name in OPTIONAL if hasattr(method, name))):
        problem = _refused_arguments(getattr(method, name), getattr(Method, name))
        if problem:
            raise UserError(f"{where}: {name} {problem}")


_WHY = {
    "plan": "plan says what the batches of train_step consist of",
    "train_step": "without train_step nobody asks for its batches",
    "schedule": "schedule says when refresh is due, else it never runs",
    "refresh": "without refresh a stage runs for config.steps steps",
}


def _refused_arguments(function, declared):
    """What is wrong with the arguments of a function, against those that Method declares; "" for
    nothing.
    """
    asked = list(inspect.signature(declared).parameters.values())[1:]  # without self
    positions = [p.name for p in asked if p.kind is p.POSITIONAL_ONLY]
    keywords = [p.name for p in asked if p.kind is p.KEYWORD_ONLY]
    call = f"({', '.join(positions)}, {', '.join(f'{name}=' for name in keywords)})"
    signature = inspect.signature(function)
    try:
        signature.bind(*positions, **dict.fromkeys(keywords))
    except TypeError as error:
        return f"is called with {call} and does not accept that: {error}; end it with **_"
    never = [
        p.name
        for p in signature.parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in keywords
    ]
    return f"takes {', '.join(never)}, but is called with {call}" if never else ""

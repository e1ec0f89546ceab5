"""What contenders of several groups share: compiled programs of jax, steps of jax and of torch."""

from benchmarks.race import CUDA, Prepared


def jax_compiled(function, arguments, answer, **jit_settings):
    """A contender's `run` of a function in jax, compiled here: answer(results) with "planned_mib",
    what XLA sets aside for a call.
    """
    import jax

    compiled = jax.jit(function, **jit_settings).lower(*arguments).compile()
    planned = planned_mib(compiled)
    return lambda: answer(jax.block_until_ready(compiled(*arguments))) | planned


def planned_mib(compiled):
    """{"planned_mib": working memory of a call of a compiled program}; {} where it does not say."""
    stats = compiled.memory_analysis()
    return {} if stats is None else {"planned_mib": stats.temp_size_in_bytes / 2**20}


def prepared_jax_steps(step, steps, state, batch, rng):
    """A contender of so many training steps a call, between which nobody waits.

    Args:
      step: from parallel.compile_train_step; its metric "segmentation" of the first step is in the
        answer.
      state, batch, rng: its arguments; the state is given away.
    """
    import jax

    def build():
        compiled, held = step.lower(state, batch, rng).compile(), [state]
        known = planned_mib(compiled)

        def run():
            for _ in range(steps):
                held[0], metrics = compiled(held[0], batch, rng)
                known.setdefault("segmentation", metrics["segmentation"])  # later ones are not kept
            jax.block_until_ready(held[0])
            return known

        return run

    return Prepared(build, jax.devices()[0])


def torch_device():
    """torch's device: the GPU where there is one."""
    import torch

    return torch.device(CUDA if torch.cuda.is_available() else "cpu")


def prepared_torch(run, device):
    """A contender in torch, which compiles nothing."""
    return Prepared(lambda: run, CUDA if device.type == CUDA else None)


def prepared_torch_steps(step, steps, device):
    """A contender in torch of so many training steps a call, between which nobody waits.

    Args:
      step: f() -> loss, a tensor; that of the first step is the answer's "segmentation".
    """
    import torch

    first = {}

    def run():
        for _ in range(steps):
            loss = step()
            if not first:
                first["segmentation"] = loss.item()  # later ones are not waited for
        if device.type == CUDA:
            torch.cuda.synchronize()
        return first

    return prepared_torch(run, device)

"""DAN (Long et al., ICML 2015): the maximum mean discrepancy between the domains' features, with
several kernels (MK-MMD).

The kernels weigh the same, where the paper learns their weights (thuml/Transfer-Learning-Library,
alignment/dan.py). `kernel="can"` is the baseline of CAN's repository instead: its bandwidths and
clips, the class probabilities as a second layer, biased means.
"""

from dajax.losses.mmd import ALPHAS, discrepancy, gaussian_kernels
from dajax.methods.classification import _two_batch_step as alignment

TASK = "classification"

init, plan = alignment.init_with_kernels, alignment.plan


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step on CE + weight * MMD^2 of the whole batch, whatever the number of devices; batch as
    alignment.step takes it.
    """

    def mmd(source, target, source_mask, target_mask):
        kernel = gaussian_kernels(
            source.features, target.features, source_mask, target_mask, alphas=ALPHAS
        )
        return discrepancy(kernel, source_mask, target_mask, statistic=config.statistic)

    return alignment.kernel_step(
        state, batch, rng, mmd, joint=False, config=config, model=model, axis_name=axis_name
    )

"""JAN (Long et al., ICML 2017): the maximum mean discrepancy between the domains' JOINT
distributions of features and predictions (JMMD).

The kernel of a pair of images is the product of its kernels on the features and on the class
probabilities, the latter of one fixed width (thuml/Transfer-Learning-Library, alignment/jan.py;
without its optional adversary). `kernel="can"`: see dajax.methods.classification.dan.
"""

import jax

from dajax.losses.mmd import ALPHAS, discrepancy, fixed_kernel, gaussian_kernels
from dajax.methods.classification import _two_batch_step as alignment

_PROBABILITY_SIGMA = 0.92  # tllib, examples jan.py

TASK = "classification"

init, plan = alignment.init_with_kernels, alignment.plan


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step on CE + weight * JMMD^2 of the whole batch, whatever the number of devices; batch as
    alignment.step takes it.
    """

    def jmmd(source, target, source_mask, target_mask):
        features = gaussian_kernels(
            source.features, target.features, source_mask, target_mask, alphas=ALPHAS
        )
        probabilities = fixed_kernel(
            jax.nn.softmax(source.logits), jax.nn.softmax(target.logits), sigma=_PROBABILITY_SIGMA
        )
        return discrepancy(
            features * probabilities, source_mask, target_mask, statistic=config.statistic
        )

    return alignment.kernel_step(
        state, batch, rng, jmmd, joint=True, config=config, model=model, axis_name=axis_name
    )

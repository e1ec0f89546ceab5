"""Several segmenters as one, whose class probabilities are the mean of theirs: FDA's multi-band
transfer (Yang and Soatto, CVPR 2020, section 3.3).
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dajax.models.aspp import SegOutput


def of_stage(member, starts):
    """The segmenter of a stage: `member`, or the mean of as many as it begins with.

    Args:
      member: segmenter.
      starts: settings.starts_of the stage's init_from.
    """
    return MeanOfNetworks(member, len(starts)) if len(starts) > 1 else member


@dataclasses.dataclass(frozen=True)
class MeanOfNetworks:
    """Params and statistics {"member0": those of the first, ...}; called as the Flax module of a
    segmenter is.

    Its logits are the logarithms of the mean probabilities at the networks' stride, so that their
    softmax is that mean. FDA's code brings the mean probabilities to the label's size, evaluation
    here their logarithms, as it brings logits; pseudo_labels has it as there. Weights have four
    digits, as the code's .3333, .3333 and .3334.

    Attributes:
      member: the segmenter that all of them are.
      count: how many.
    """

    member: Any
    count: int
    network: ClassVar[str] = "segmenter"
    heads: ClassVar[str] = "single"
    num_heads: ClassVar[int] = 1
    detail_hw: ClassVar[tuple[int, ...]] = ()

    @property
    def names(self):
        """Keys of the members in the trees."""
        return tuple(f"member{number}" for number in range(self.count))

    @property
    def num_classes(self):
        """K."""
        return self.member.num_classes

    @property
    def align_corners(self):
        """As the members'."""
        return self.member.align_corners

    @property
    def stride(self):
        """Of the logits, in pixels."""
        return self.member.stride

    def frozen_parameters(self):
        """See DeepLab."""
        return self.member.frozen_parameters()

    def init(self, rng, images, mode):
        """Random variables, the same for all members."""
        one = self.member.init(rng, images, mode)
        return {kind: dict.fromkeys(self.names, tree) for kind, tree in one.items()}

    def apply(self, variables, images, mode, **settings):
        """SegOutput with the features of all members side by side, and without auxiliary logits;
        with `mutable` in settings also the variables that have moved, as of a Flax module.
        """
        outputs = [
            self.member.apply(
                {kind: tree.get(name, {}) for kind, tree in variables.items()},
                images,
                mode,
                **settings,
            )
            for name in self.names
        ]
        if "mutable" not in settings:
            return self._mean(outputs)
        outputs, moved = zip(*outputs, strict=True)
        named = {
            kind: {name: one[kind] for name, one in zip(self.names, moved, strict=True)}
            for kind in moved[0]
        }
        return self._mean(outputs), named

    def _weights(self):
        """float32 [count], of which the last is what the others leave."""
        first = np.floor(1e4 / self.count) / 1e4
        weights = [first] * (self.count - 1)
        return jnp.asarray([*weights, 1.0 - sum(weights)], jnp.float32)

    def _mean(self, outputs):
        log_probs = [jax.nn.log_softmax(self.member.prediction_logits(one)) for one in outputs]
        weighted = jnp.stack(log_probs) + jnp.log(self._weights()).reshape(-1, 1, 1, 1, 1)
        mean = jax.nn.logsumexp(weighted, axis=0)
        return SegOutput(jnp.concatenate([one.features for one in outputs], -1), mean, None)

    def prediction_logits(self, output):
        """SegOutput -> float32 [N, h, w, K]."""
        return output.logits

"""CAN's golden toy network, and a feed over arrays, for the tests of the methods that alternate."""

from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from dajax.models.classifier import DeepHead, Output
from dajax.models.layers import Dropout
from dajax.models.norm import DomainBatchNorm


class ToyNetwork(nn.Module):
    """x -> fc1 -> BN -> relu -> STOP GRADIENT -> fc2 -> BN -> relu = features -> head: the golden
    file's network, for images [N, D].
    """

    num_classes: int
    widths: tuple[int, int]
    num_domains: int = 2
    stops: bool = True
    dropout: float = 0.0
    network: ClassVar[str] = "classifier"

    def frozen_parameters(self):
        return ("/fc1/", "/bn1/") if self.stops else ()

    @nn.compact
    def __call__(self, images, mode):
        x = nn.relu(
            DomainBatchNorm(num_domains=self.num_domains, name="bn1")(
                nn.Dense(self.widths[0], use_bias=False, name="fc1")(images), mode
            )
        )
        x = jax.lax.stop_gradient(x) if self.stops else x
        features = nn.relu(
            DomainBatchNorm(num_domains=self.num_domains, name="bn2")(
                nn.Dense(self.widths[1], use_bias=False, name="fc2")(x), mode
            )
        )
        features = Dropout(self.dropout)(features, mode)
        return Output(features=features, logits=nn.Dense(self.num_classes, name="head")(features))


class TwoHeads(ToyNetwork):
    """The toy network as MCD asks for it."""

    head_widths: tuple[int, ...] = ()

    def another_head(self):
        return DeepHead(
            self.num_classes, self.head_widths, self.num_domains, self.dropout, parent=None
        )


class Lookup(nn.Module):
    """A table of features and one of logits, looked up by one-hot images [N, M]: what a golden file
    gives, and gradients of it, whole.

    An update of row i of a table is minus the rate times the gradient of example i's features or
    logits.

    Attributes:
      over_features: the logits are a linear head on the features, as MCD's second head is; else a
        table of their own.
    """

    num_classes: int
    width: int
    over_features: bool = False
    network: ClassVar[str] = "classifier"

    def frozen_parameters(self):
        return ()

    @nn.compact
    def __call__(self, images, mode):
        features = nn.Dense(self.width, use_bias=False, name="table")(images)
        head = nn.Dense(self.num_classes, use_bias=self.over_features, name="head")
        return Output(features=features, logits=head(features if self.over_features else images))

    def another_head(self):
        return DeepHead(self.num_classes, (), 1, parent=None)


class ArrayFeed:
    """What `refresh` asks of a Feed, over the golden file's arrays."""

    devices = tuple(jax.devices()[:1])
    batch_size = 7  # divides no number of rows here, so that the last batch is padded
    steps_of_a_loop = 5

    def __init__(self, sets):
        self._sets = sets
        self.sets = {name: rows for name, (rows, _) in sets.items()}

    def labelled(self, domain):
        """(rows, labels) of a domain."""
        return self._sets[domain]

    def sequence(self, domain, batch_size, *, views, name):
        rows, labels = self._sets[domain]
        size = self.batch_size
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            spare = size - len(chunk)
            mask = np.arange(size) < len(chunk)
            index = np.where(mask, start + np.arange(size), -1).astype(np.int32)
            batch = {"image": np.pad(chunk, ((0, spare), (0, 0))), "mask": mask, "index": index}
            if labels is not None:
                own = labels[start : start + size]
                batch["label"] = np.pad(own, (0, spare), constant_values=-1)
            yield batch

    def class_aware_steps(self, sources, labels, kept, settings, *, fallback_batch):
        return self.steps_of_a_loop

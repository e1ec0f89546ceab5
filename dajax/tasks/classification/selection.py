"""What an evaluation says of a classifier without a label of the target: the figures of
ops.selection, from the outputs that the evaluation has computed anyway.
"""

import jax
import numpy as np

from dajax import processes
from dajax.analysis.samples import some_rows
from dajax.label_free import key_of
from dajax.models.apply import inference
from dajax.ops import selection

# Rows that the density is measured on: all of most sets; of larger ones the similarities would take
# longer than the evaluation. Ours.
MAX_DENSITY_ROWS = 10_000
# Rows of a domain that DEV's classifier learns from, and that are weighted: 3,000 in utils/dev.py
# of SND's authors.
MAX_DOMAIN_ROWS = 3000
SEED = 0  # of which rows: the same at every evaluation


@jax.jit
def _figures(logits, some_logits):
    return {
        "entropy": selection.mean_entropy(logits),
        "im": selection.mutual_information(logits),
        "snd": selection.neighbourhood_density(some_logits),
    }


_ratios, _risk = jax.jit(selection.density_ratios), jax.jit(selection.validation_risk)


class Outputs:
    """The outputs of a pass over images, collected batch by batch; labels never come here.

    Args:
      with_features: whether features are collected too.
      is_shared: whether each process has some of the batches, and not all of them.
    """

    def __init__(self, with_features=False, is_shared=True):
        self._is_shared = is_shared
        self._with_features, self._logits, self._features = with_features, [], []
        self._places = []

    def add(self, output, mask, index):
        """Adds the network's output for a batch.

        Args:
          mask: bool [N], rows that are images; index: int32 [N], their numbers in the set.
        """
        self._logits.append(np.asarray(output.logits, np.float32)[mask])
        if self._with_features:
            self._features.append(np.asarray(output.features, np.float32)[mask])
        self._places.append(index[mask])

    @property
    def logits(self):
        """Float32 [N, K]."""
        return self._of_all(self._logits)

    @property
    def features(self):
        """Float32 [N, D]."""
        return self._of_all(self._features)

    def _of_all(self, rows):
        if self._is_shared:
            places = np.concatenate([np.zeros(0, np.int32), *self._places])
            return processes.rows_of_all(np.concatenate(rows) if rows else None, places)
        return np.concatenate(rows)


def label_free_figures(outputs, variables, *, data, model, stage_config, batch_size):
    """The figure of every rule that can be measured.

    Args:
      outputs: Outputs of all evaluation images, with features where the source has a held-out part.
      variables: {"params", "batch_stats"} by network.
      data, model, stage_config, batch_size: as of evaluate.evaluate_classifier.

    Returns:
      {"label_free_<rule>": float}; that of "dev" where data.has_source_held_out.
    """
    logits = outputs.logits
    found = dict(_figures(logits, logits[some_rows(len(logits), MAX_DENSITY_ROWS, seed=SEED)]))
    if data.has_source_held_out:
        found["dev"] = _dev(outputs, variables, data, model, stage_config, batch_size)
    return {key_of(rule): float(value) for rule, value in found.items()}


def _dev(outputs, variables, data, model, stage_config, batch_size):
    """DEV's risk, with the error of each held-out image as its loss, as in the authors' code."""

    def run(held_out):
        seen, labels = Outputs(with_features=True, is_shared=False), []
        for number in range(data.num_sources):
            # a domain's own statistics where the network has such
            norm_set = number if stage_config.target_bn > 1 else 0
            predict = inference(model, norm_set, data.devices)
            share = MAX_DOMAIN_ROWS // data.num_sources
            for batch in data.source_sample(number, share, batch_size, held_out=held_out):
                seen.add(predict(variables, batch["image"]), batch["mask"], batch["index"])
                labels.append(batch["label"][batch["mask"]])
        return seen, np.concatenate(labels)

    trained, _ = run(held_out=False)
    held_out, labels = run(held_out=True)
    target = outputs.features
    target = target[some_rows(len(target), MAX_DOMAIN_ROWS, seed=SEED)]
    weights = _ratios(trained.features, target, held_out.features)
    errors = (held_out.logits.argmax(-1) != labels).astype(np.float32)
    return _risk(weights, errors)

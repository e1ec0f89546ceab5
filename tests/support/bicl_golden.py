"""BiCL's settings, the rows of its ablation, and the golden iteration of the slides' formulas as a
batch of dajax.methods.segmentation.bicl.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from golden_arrays import channels_last, ints
from ml_collections import ConfigDict

from dajax.engine.config_check import flatten
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import bicl
from dajax.models.aspp import SegOutput
from dajax.ops.confidence import NUM_BINS
from dajax.recipes import bicl as bicl_config


def settings(**changes):
    """The recipe's first stage of the method, with changes."""
    config = bicl_config.get_config("gta5_to_cityscapes,weights=none").bicl_0
    config.update_from_flattened_dict(changes)
    return config


def _differing(stage, whole):
    """{"key.subkey": value} of a recipe's stage where it differs from another."""
    found, other = (flatten(config.to_dict()) for config in (stage, whole))
    return {key: value for key, value in found.items() if value != other[key]}


_ABLATIONS = bicl_config.get_config("ablations")
# The rows of the slides' ablation, from L_base to the whole, by what they change.
ABLATION = {
    row: _differing(_ABLATIONS[row], _ABLATIONS.bicl_0)
    for row in ("base", "forward", "forward_backward", "uncalibrated", "bicl_0")
}
CODE = _differing(
    bicl_config.get_config("gta5_to_cityscapes,weights=none,settings=code").bicl_0, settings()
)


@functools.cache
def _compiled_losses(config_json):
    """Value and gradient to the features, compiled once for all batches of these settings."""
    config = ConfigDict(json.loads(config_json))

    def loss_fn(features, logits, batch, extra):
        seen = [
            segmenter.at_size(SegOutput(f, x, None), batch[domain]["label"].shape[1:])
            for domain, f, x in zip(("source", "target"), features, logits, strict=True)
        ]
        loss, terms, moved = bicl.losses(*seen, batch, extra, config=config)
        return loss, (terms, moved)

    return jax.jit(jax.value_and_grad(loss_fn, has_aux=True))


class Formula:
    """dass_formula.npz as a batch; its features are of a network whose logits are arbitrary."""

    def __init__(self, case):
        self.case = case
        self.features = tuple(channels_last(case[f"f_{d}"]) for d in "ST")
        rng = np.random.default_rng(0)
        self.num_classes, self.width = case["mu_S_prev"].shape
        self.logits = tuple(
            jnp.asarray(rng.normal(size=(*f.shape[:3], self.num_classes)), jnp.float32)
            for f in self.features
        )
        mask = np.ones(len(case["y_S"]), bool)
        self.batch = {
            "source": {"label": ints(case["y_S"]), "mask": mask},
            "target": {"label": ints(case["y_F"]), "mask": mask},
        }
        self.extra = {}
        for domain, short in (("source", "S"), ("target", "T")):
            self.extra[f"mu_{domain}"] = jnp.asarray(case[f"mu_{short}_prev"], jnp.float32)
            self.extra[f"known_{domain}"] = jnp.asarray(case[f"have_{short}_prev"])

    def evaluate(self, config, *, features=None, batch=None, extra=None):
        """(loss, terms, extra, gradients to the source's and to the target's features)."""
        compiled, extra = _compiled_losses(config.to_json()), extra or self.extra
        if config.dynamic.share:  # nothing seen before
            extra = {"scores": jnp.zeros(NUM_BINS)} | extra
        (loss, (terms, moved)), grads = compiled(
            features or self.features, self.logits, batch or self.batch, extra
        )
        return loss, terms, moved, grads

    def target_means(self, labels):
        """rho_T of target labels: (float64 [K, D], bool [K])."""
        features = np.moveaxis(self.case["f_T"], 1, -1)
        present = np.array([(labels == k).any() for k in range(self.num_classes)])
        means = [
            features[labels == k].mean(0) if present[k] else np.zeros(self.width)
            for k in range(self.num_classes)
        ]
        return np.stack(means), present

    def moved_target(self, labels):
        """mu_T after a step with these labels."""
        rho, present = self.target_means(labels)
        mu, decay = self.case["mu_T_prev"], self.case["lam"]
        moved = np.where(self.case["have_T_prev"][:, None], decay * mu + (1 - decay) * rho, rho)
        return np.where(present[:, None], moved, mu)

"""BiCL's settings, the rows of its ablation, and the golden iteration of the slides' formulas as a batch of dajax.methods.bicl."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import prototype_golden as pg
from dajax.methods import bicl
from dajax.models.aspp import SegOutput


def settings(**changes):
    """Every setting of the method, the slides' where they have one."""
    config = ConfigDict(dict(
        target_weight=0.3, entropy_weight=0.4,  # code: lambt, lamb; the slides leave L_base undefined
        entropy="right",  # the code's "double_softmax" is a slip
        contrast_weight=0.2,  # code: lamb_metric1 and 2 of damnet_config_upsize.yml; 0.1 in damnet_config.yml, 0 in synthia_damnet_config.yml
        contrast_kind="batch", forward=True, backward=True,  # slides
        temperature=0.1,  # code: similarities times 10; not on the slides
        prototype_gradient=True,  # code: no detach; not on the slides
        decay=0.9,  # ours, that of golden dass_formula; lambda on the slides, without a value
        # The threshold is ours, that of golden dass_formula; T on the slides, without a value. 0.8 with score="probability": code, in a branch that
        # never reaches its loss.
        dynamic=dict(on=True, calibrate=True, threshold=0.55, score="cosine"),
        priority="dynamic",  # slides
    ))
    config.update_from_flattened_dict(changes)
    return config


# The rows of the slides' ablation, from L_base to the whole.
ABLATION = {
    "base": {"contrast_weight": 0.0},
    "forward": {"backward": False, "dynamic.on": False},
    "backward": {"dynamic.on": False},
    "dynamic": {"dynamic.calibrate": False},
    "calibrated": {},
}
CODE = {"contrast_kind": "pair", "entropy": "double_softmax", "dynamic.on": False}


@functools.lru_cache(maxsize=None)
def _compiled_losses(config_json):
    """Value and gradient to the features, compiled once for all batches of these settings."""
    config = ConfigDict(json.loads(config_json))

    def loss_fn(features, logits, batch, extra):
        loss, terms, moved = bicl.losses(*(SegOutput(f, x, None) for f, x in zip(features, logits)), batch, extra, config)
        return loss, (terms, moved)

    return jax.jit(jax.value_and_grad(loss_fn, has_aux=True))


class Formula:
    """dass_formula.npz as a batch; its features are those of a network whose logits are arbitrary."""

    def __init__(self, case):
        self.case = case
        self.features = tuple(pg.last(case[f"f_{d}"]) for d in "ST")
        rng = np.random.default_rng(0)
        self.logits = tuple(jnp.asarray(rng.normal(size=(*f.shape[:3], 9)), jnp.float32) for f in self.features)
        mask = np.ones(2, bool)
        self.batch = {"source": {"label": pg.ints(case["y_S"]), "mask": mask}, "target": {"label": pg.ints(case["y_F"]), "mask": mask}}
        self.extra = {}
        for domain, short in (("source", "S"), ("target", "T")):
            self.extra[f"mu_{domain}"] = jnp.asarray(case[f"mu_{short}_prev"], jnp.float32)
            self.extra[f"known_{domain}"] = jnp.asarray(case[f"have_{short}_prev"])

    def evaluate(self, config, *, features=None, batch=None, extra=None):
        """(loss, terms, extra, gradients to the source's and to the target's features)."""
        compiled = _compiled_losses(config.to_json())
        (loss, (terms, moved)), grads = compiled(features or self.features, self.logits, batch or self.batch, extra or self.extra)
        return loss, terms, moved, grads

    def target_means(self, labels):
        """rho_T of target labels: (float64 [K, D], bool [K])."""
        features = np.moveaxis(self.case["f_T"], 1, -1)
        present = np.array([(labels == k).any() for k in range(9)])
        return np.stack([features[labels == k].mean(0) if present[k] else np.zeros(10) for k in range(9)]), present

    def moved_target(self, labels):
        """mu_T after a step with these labels."""
        (rho, present), mu = self.target_means(labels), self.case["mu_T_prev"]
        moved = np.where(self.case["have_T_prev"][:, None], 0.9 * mu + 0.1 * rho, rho)
        return np.where(present[:, None], moved, mu)

"""SHOT: that it reads no source, when it labels and with what, and the authors' rates."""

import dataclasses
import shutil

import in_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close
from golden_arrays import between
from ml_collections import ConfigDict
from toy_classifier import ArrayFeed, ToyNetwork

from dajax.engine import opening, stages
from dajax.methods import METHODS, Sizes
from dajax.optim import make_schedule
from dajax.recipes import shot as recipe
from dajax.recipes.base import classification as cls_base
from dajax.settings import SettingError
from dajax.tasks.classification import setup as classification

CLASSES, WIDTH, TARGET = 3, 5, 23


def begun(**changes):
    config = recipe.get_config().shot
    config.update(steps=20, refreshes=3, **changes)
    model = ToyNetwork(CLASSES, (8, 6), num_domains=1, stops=False)
    state = METHODS["shot"].init(
        jax.random.key(0),
        jnp.zeros((2, WIDTH)),
        config=config,
        model=model,
        sizes=Sizes(source=0, target=TARGET, num_sources=1),
    )
    return config, model, state


def test_no_source_image_is_read_after_stage_one(tmp_path, monkeypatch):
    """A run whose source loses its images behind stage one ends with the same bits as one whose
    source is there. Evaluation included; each image set says who reads it.
    """
    config = recipe.get_config()
    config.stages = ("source_only", "shot")
    config.update_from_flattened_dict(
        {
            "data.per_class": 2,
            "source_only.steps": 2,
            "source_only.batch_size": 8,
            "shot.steps": 4,
            "shot.refreshes": 2,
            "shot.batch_size": 8,
            "evaluation.reestimate_batches": 0,
            "runtime.eval_batch_size": 600,
        }
    )
    monkeypatch.setattr(classification, "build_network", in_process.flat)
    stages.run(config, tmp_path / "whole", "train")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "shot")
    opened = classification.open_data

    def without_source(config):
        domains = opened(config)
        poisoned = [
            dataclasses.replace(one, images=np.full_like(one.images, 255 * number))
            for number, one in enumerate(domains.sources)
        ]
        return dataclasses.replace(domains, source=poisoned[0], sources=tuple(poisoned))

    monkeypatch.setattr(classification, "open_data", without_source)
    monkeypatch.setattr(opening, "check_data", lambda *_: None)  # which would notice
    stages.run(config, tmp_path / "cut", "train")
    whole, cut = (in_process.states(tmp_path / name / "shot") for name in ("whole", "cut"))
    in_process.assert_same_states({"shot": whole}, {"shot": cut})


def test_its_plan_and_its_refresh_ask_for_the_target_alone():
    config, model, state = begun()

    class Asked(ArrayFeed):
        def shuffled(self, domain, batch_size):
            assert domain == "target" and batch_size == config.batch_size
            return "shuffled"

        def with_index(self, part):
            return f"{part}, with index"

    rows = np.random.default_rng(0).normal(size=(TARGET, WIDTH)).astype(np.float32)
    feed = Asked({"target": (rows, None)})  # a source would be a KeyError
    assert METHODS["shot"].plan(state, data=feed, config=config) == {
        "target": "shuffled, with index"
    }
    after, figures, notes = METHODS["shot"].refresh(state, data=feed, config=config, model=model)
    labels = np.asarray(after.extra["pseudo_labels"])
    assert labels.shape == (TARGET,) and set(labels) <= set(range(CLASSES)) and notes == []
    assert figures["labels_changed"] == 1.0 and after.extra["refresh_at"] == 20 // 3


def test_rounds_that_all_leave_the_labels_out_are_refused():
    with pytest.raises(SettingError, match="label_free_rounds=3: leaves no round of refreshes=3"):
        begun(label_free_rounds=3)


def test_it_labels_at_equal_distances_and_once_more_for_a_remainder():
    config, _, state = begun()
    due = []
    for step in range(21):
        state = state.replace(step=jnp.int32(step))
        where = METHODS["shot"].schedule(state, config=config)
        assert where.last_step == 20 and where.finished == (step == 20)
        if where.refresh_at == step:
            due.append(step)
            extra = state.extra | {"refresh_at": state.extra["refresh_at"] + 6}
            state = state.replace(extra=extra)
    assert due == [0, 6, 12, 18]


@pytest.mark.parametrize("label_free_rounds", [0, 1])
def test_a_step_takes_each_rows_label_unless_its_round_is_label_free(label_free_rounds):
    config, model, state = begun(label_free_rounds=label_free_rounds)
    labels = jnp.arange(TARGET, dtype=jnp.int32) % CLASSES
    state = state.replace(extra=state.extra | {"pseudo_labels": labels})
    batch = {"target": part(np.random.default_rng(0).normal(size=(6, WIDTH)).astype(np.float32))}
    batch["target"]["index"] = np.array([4, 0, 7, 22, 11, 2], np.int32)
    batch = jax.tree.map(jnp.asarray, batch)

    @jax.jit
    def losses(state):
        return METHODS["shot"].train_step(
            state, batch, jax.random.key(0), config=config, model=model
        )[1]

    for step in (0, 6):
        found = losses(state.replace(step=jnp.int32(step)))
        weight = 0.0 if step < 6 * label_free_rounds else config.weight
        assert found["loss"] == pytest.approx(
            float(weight * found["ce"] + found["information"]), rel=1e-5
        )
        assert found["ce"] > 0
    other = state.replace(extra=state.extra | {"pseudo_labels": (labels + 1) % CLASSES})
    assert losses(other)["ce"] != losses(state)["ce"]


def test_the_rates_are_the_authors(golden):
    case = golden("tier2_shot")[""]
    (steps,) = map(int, between(case, "lr_of_"))
    expected = case[f"lr_of_{steps}"]
    arg = cls_base.parse("office31,weights=none", recipe.VARIANTS)
    schedule = make_schedule(ConfigDict(recipe.sgd(arg, steps)), steps)
    found = [schedule(step) for step in np.rint(np.linspace(0, steps, len(expected))).astype(int)]
    assert_close(np.array(found), expected, 1e-4)

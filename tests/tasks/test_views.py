"""What a method's plan may ask of its batches besides images: the rows' indices, and a second view
of the same rows. From the recipe's config to the train step.
"""

import in_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dajax import parallel
from dajax.errors import UserError
from dajax.methods.classification import source_only
from dajax.recipes import can, clan
from dajax.recipes.base import views
from dajax.tasks.classification import setup as classification
from dajax.tasks.feed import NEVER
from dajax.tasks.segmentation import setup as segmentation
from data_pipeline.errors import DataError

APPEARANCE = dict(
    color_jitter=dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.8),
    blur=dict(sigma=(0.5, 1.5), probability=0.5),
)


def digits_config(**strong_view):
    """CAN on a few digits, with a second view that differs from the recipe's transform in these."""
    config = can.get_config()
    config.data.per_class = 6
    config.stages = ("source_only",)
    if strong_view:
        strong = {**config.data.transform.to_dict(), **strong_view}
        config.data.strong_view = ConfigDict(strong)
    return config


@pytest.fixture(scope="module")
def scenes_config(tmp_path_factory):
    config = clan.get_config()
    root = tmp_path_factory.mktemp("scenes")
    config.data.scenes.update(dict(root=str(root), size=(32, 64), source=4, target=3, evaluation=1))
    config.data.strong_view = ConfigDict(APPEARANCE)
    return config


def feed_of(task, config, stage, devices=1):
    return task.make_feed(
        task.open_data(config),
        config,
        stage,
        directory=None,
        devices=jax.devices()[:devices],
        stop=NEVER,
    )


def first_batch(feed, part):
    with feed.steps({"part": part}, 0, 1) as stream:
        return next(stream)["part"]


def check_views(feed, plain):
    """Each word adds its key, changes nothing else, and they compose in either order."""
    both = feed.with_index(feed.with_strong_view(plain))
    assert both == feed.with_strong_view(feed.with_index(plain))
    batch, without = first_batch(feed, both), first_batch(feed, plain)
    assert set(batch) == {*without, "index", "strong_image"}
    for name in without:
        np.testing.assert_array_equal(batch[name], without[name])
    assert batch["strong_image"].shape == batch["image"].shape
    np.testing.assert_array_equal(batch["index"], plain.rows(0))
    assert (batch["strong_image"] != batch["image"]).any()


def test_a_second_view_is_of_the_same_rows_by_the_same_transform():
    """Without anything random in it both views are one."""
    config = digits_config()
    for is_random in (True, False):
        feed = feed_of(classification, config, "source_only")
        plain = feed.shuffled("target", 6)
        batch, without = first_batch(feed, feed.with_second_view(plain)), first_batch(feed, plain)
        np.testing.assert_array_equal(batch["image"], without["image"])
        assert set(batch) == {*without, "strong_image"}
        assert (batch["image"] != batch["strong_image"]).any() == is_random
        config.data.transform.update(views.off())


def test_a_plan_for_digits_may_ask_for_rows_and_a_second_view():
    feed = feed_of(classification, digits_config(appearance=APPEARANCE), "source_only")
    check_views(feed, feed.shuffled("target", 6))


def test_a_plan_for_scenes_may_ask_for_rows_and_a_second_view(scenes_config):
    feed = feed_of(segmentation, scenes_config, "clan")
    for part in (feed.shuffled("target", 2), feed.shuffled_with_labels("source", 2)):
        check_views(feed, part)


def test_the_shapes_of_a_domain_are_those_of_its_batches(scenes_config):
    """Whichever size a batch of images has drawn."""
    config = scenes_config.copy_and_resolve_references()
    config.data.transforms.source.image_scales = ((0.3, 0.5), (0.6, 0.75))
    feed = feed_of(segmentation, config, "clan")
    for domain, count in (("source", 3), ("target", 1)):
        known = [{name: x.shape for name, x in part.items()} for part in feed.shapes(domain)]
        assert len(known) == count
        seen = set()
        for step in range(12):
            part = feed.shuffled(domain, 1)
            with feed.steps({"part": part}, step, step + 1) as stream:
                seen.add(next(stream)["part"]["image"].shape)
        assert seen == {shapes["image"] for shapes in known}
        assert {shapes["label"] for shapes in known} == {(1, 64, 128)}


def test_a_second_view_that_the_recipe_does_not_describe_is_one_line():
    feed = feed_of(classification, digits_config(), "source_only")
    with pytest.raises(UserError, match="source_only: .* config.data.strong_view, .* set it"):
        feed.with_strong_view(feed.shuffled("target", 6))


def test_a_second_view_of_another_size_or_with_a_slip_is_one_line():
    with pytest.raises(UserError, match=r"strong_view.size is \(8, 8\), config.data.transform.siz"):
        classification.open_data(digits_config(size=8, resize=8))
    with pytest.raises(DataError, match="config.data.strong_view.flipp is unknown"):
        classification.open_data(digits_config(flipp=True))


def test_the_checks_before_a_run_look_at_the_second_view():
    config = digits_config(mean=(0.1, 0.2, 0.3))
    found = classification.problems(config, classification.open_data(config))
    assert found and all("transform.mean 3 values" in line for line in found)


def test_rows_and_second_views_reach_the_train_step_through_the_engine(monkeypatch, tmp_path):
    seen, train_step = [], source_only.train_step

    def plan(state, *, data, config):
        part = data.with_index(data.with_strong_view(data.shuffled("source", config.batch_size)))
        seen.append(part.rows)
        return {"source": part}

    def step(state, batch, rng, *, config, model, axis_name=None):
        source = batch["source"]
        weak = {**source, "image": source["strong_image"]}
        state, metrics = train_step(
            state, {"source": weak}, rng, config=config, model=model, axis_name=axis_name
        )
        return state, metrics | {"rows": source["index"].sum().astype(jnp.float32)}

    monkeypatch.setattr(source_only, "plan", plan)
    monkeypatch.setattr(source_only, "train_step", step)
    monkeypatch.setattr(classification, "build_network", in_process.flat)
    config = digits_config(appearance=APPEARANCE)
    config.source_only.update(dict(steps=3, batch_size=8))
    with in_process.compiled_programs_kept():
        in_process.run(config, tmp_path)
    lines = [
        line for line in in_process.metrics(tmp_path, "source_only") if line["kind"] == "train"
    ]
    assert [line["rows"] for line in lines] == [float(seen[0](i).sum()) for i in range(3)]


@pytest.mark.parametrize("devices", [1, 4])
def test_both_are_cut_over_the_devices_with_the_images(devices):
    feed = feed_of(classification, digits_config(appearance=APPEARANCE), "source_only", devices)
    part = feed.with_index(feed.with_strong_view(feed.shuffled("target", 8)))
    batch = first_batch(feed, part)
    batch["index"] = np.where(np.arange(8) == 7, -1, batch["index"])  # as a padded row has it

    def step(state, batch, rng, axis_name):
        del rng
        is_padded = (batch["index"] < 0)[:, None, None, None]
        padded = jnp.where(is_padded, batch["strong_image"], 0.0).sum()
        kept = {name: parallel.gather(leaf, axis_name) for name, leaf in batch.items()}
        return state, kept | {"padded": parallel.total(padded, axis_name)}

    compiled = parallel.compile_train_step(step, feed.devices)
    _, found = compiled({"step": jnp.zeros(())}, batch, jax.random.key(0))
    for name in batch:
        np.testing.assert_array_equal(found[name], batch[name])
    np.testing.assert_allclose(found["padded"], batch["strong_image"][7].sum(), rtol=1e-5)

"""CAN's train step and refresh against whole updates of the authors' solver (can_step.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close, assert_trees_close, assert_value
from toy_classifier import ArrayFeed, ToyNetwork

from dajax import parallel
from dajax.methods import Sizes
from dajax.methods.classification import _cluster_passes, can
from dajax.methods.classification import _clustering_loop as alternation
from dajax.models.apply import inference
from dajax.ops.host_arrays import aligned_empty
from dajax.ops.metrics import classification_report, confusion_matrix
from dajax.recipes import can as can_config

# tests/golden/README.md: batch statistics and states after a step, relative to the largest entry
TOLERANCE = 1e-5
# The same: CDD of float32 against float64, to 2e-5 of the larger one of its terms and 1
CDD_TOLERANCE = 2e-5
SOURCE, TARGET = 0, 1  # CAN's sets of normalisation parameters and statistics


def to_trees(entries):
    """The authors' state dict -> (params, batch_stats) of ToyNetwork."""

    def entry(name):
        return jnp.asarray(entries[name], jnp.float32)

    def of_domains(bn, leaf):
        layer = f"feature_extractor.{bn}.bn_domain"
        return jnp.stack([entry(f"{layer}.{domain}.{leaf}") for domain in (SOURCE, TARGET)])

    params, stats = {}, {}
    for fc, bn in (("fc1", "bn1"), ("fc2", "bn2")):
        params[fc] = {"kernel": entry(f"feature_extractor.{fc}.weight").T}
        params[bn] = {"scale": of_domains(bn, "weight"), "bias": of_domains(bn, "bias")}
        stats[bn] = {"mean": of_domains(bn, "running_mean"), "var": of_domains(bn, "running_var")}
    params["head"] = {"kernel": entry("FC.logits.weight").T, "bias": entry("FC.logits.bias")}
    return {"classifier": params}, {"classifier": stats}


def authors():
    """The recipe's stage with the authors' settings of Office-31's A-W."""
    return can_config.get_config("office31,source=amazon,target=webcam,weights=none").can


def settings_of(case):
    """The recipe's stage with the sizes and constants of the golden file."""
    config, data, given = authors(), case["data"], case["cfg"]
    _, num_blocks, source_per_class, _ = data["cas_src_x"].shape
    config.class_aware.update(
        num_classes=num_blocks,
        source_per_class=source_per_class,
        target_per_class=data["cas_tgt_x"].shape[2],
    )
    config.batch_size = data["ce_x"].shape[1]
    config.cdd.update(
        weight=float(given["cdd_weight"]),
        intra_only=bool(given["intra_only"]),
        kernel_num=tuple(given["kernel_num"].tolist()),
        kernel_mul=tuple(given["kernel_mul"].astype(float).tolist()),
    )
    ((head, _),) = config.optimizer.lr_multipliers
    config.optimizer.update(
        lr=float(given["base_lr"]),
        momentum=float(given["momentum"]),
        weight_decay=float(given["weight_decay"]),
        alpha=float(given["inv_alpha"]),
        beta=float(given["inv_beta"]),
        lr_multipliers=((head, float(given["lr_mult_fc"])),),
    )
    config.clustering.eps = float(case["cluster"]["eps"])
    return config


@pytest.fixture(scope="module")
def case(golden):
    return golden("can_step")


@pytest.fixture(scope="module")
def setting(case):
    params, stats = to_trees(case["init"])
    toy = params["classifier"]
    model = ToyNetwork(
        toy["head"]["bias"].shape[0], (toy["fc1"]["kernel"].shape[1], toy["fc2"]["kernel"].shape[1])
    )
    assert model.num_classes == case["cfg"]["num_classes"]
    return model, settings_of(case), params, stats


def make_state(model, config, params, stats, num_target=10):
    images = jnp.zeros((2, params["classifier"]["fc1"]["kernel"].shape[0]))
    sizes = Sizes(source=1, target=num_target, num_sources=1)
    state = can.init(jax.random.key(0), images, config=config, model=model, sizes=sizes)
    return state.replace(
        params=jax.tree.map(jnp.array, params), batch_stats=jax.tree.map(jnp.array, stats)
    )


def make_batch(data, step):
    def rows(blocks):
        return blocks.reshape(-1, blocks.shape[-1])

    return {
        "source": part(data["ce_x"][step], data["ce_y"][step]),
        "class_source": part(rows(data["cas_src_x"][step])),
        "class_target": part(rows(data["cas_tgt_x"][step])),
    }


def test_three_updates_are_the_authors(case, setting):
    model, config, params, stats = setting
    state = make_state(model, config, params, stats)

    def train_step(state, batch, rng, axis_name):
        return can.train_step(state, batch, rng, config=config, model=model, axis_name=axis_name)

    step = parallel.compile_train_step(train_step, jax.devices()[:1])
    num_steps = len(case["out"]["ce_loss"])
    assert num_steps == len(case["data"]["ce_x"]) > 1
    for i in range(num_steps):
        state, metrics = step(state, make_batch(case["data"], i), jax.random.key(0))
        assert_value(metrics["ce"], case["out"]["ce_loss"][i], 1e-5)
        unit = max(1.0, abs(float(metrics["intra"])), abs(float(metrics["inter"])))
        weighted = config.cdd.weight * metrics["cdd"]
        assert_close(weighted, case["out"]["cdd_loss_weighted"][i], CDD_TOLERANCE, unit=unit)
        assert_value(metrics["learning_rate"], case["out"]["lr_fx"][i], 1e-6)
        expected_params, expected_stats = to_trees(case[f"after{i + 1}"])
        assert_trees_close(state.params, expected_params, TOLERANCE)
        assert_trees_close(state.batch_stats, expected_stats, TOLERANCE)
    before = params["classifier"]["head"]
    moved, expected = (
        jax.tree.map(jnp.subtract, after["classifier"]["head"], before)
        for after in (state.params, expected_params)
    )
    # tests/golden/README.md: the difference of two nearly equal numbers
    assert_trees_close(moved, expected, 2e-3)
    for frozen in ("fc1", "bn1"):  # no gradient and no weight decay before the stop
        jax.tree.map(
            np.testing.assert_array_equal,
            state.params["classifier"][frozen],
            params["classifier"][frozen],
        )
    assert not np.array_equal(
        state.batch_stats["classifier"]["bn1"]["mean"], stats["classifier"]["bn1"]["mean"]
    ), "statistics still move"


def after_the_updates(case):
    """`to_trees` of the last state in the golden file."""
    return to_trees(case[f"after{len(case['out']['ce_loss'])}"])


def rule_for(nearest, labels):
    """(D0, N0) that keep some of the images and drop others: a distance in the widest gap of the
    middle third, and as many images as the largest class has below it.
    """
    ascending = np.sort(nearest)
    third = len(ascending) // 3
    place = third + np.diff(ascending)[third:-third].argmax()
    distance = ascending[place : place + 2].mean()
    return float(distance), int(np.bincount(labels[nearest < distance]).max())


def test_clustering_after_the_updates_is_the_authors(case, setting):
    model, config, *_ = setting
    params, stats = after_the_updates(case)
    cluster, config = case["cluster"], config.copy_and_resolve_references()
    nearest = cluster["dist2center"].min(1)
    distance, count = rule_for(nearest, cluster["labels"])
    config.clustering.update(max_distance=distance, min_count=count)
    data = ArrayFeed(
        {"source": (cluster["src_x"], cluster["src_y"]), "target": (cluster["tgt_x"], None)}
    )
    state = make_state(model, config, params, stats, num_target=len(cluster["tgt_x"]))
    centers, _ = _cluster_passes.source_centers(
        "source", norm_set=0, **_cluster_passes.passes(state, data=data, config=config, model=model)
    )
    assert_close(centers, cluster["init_centers"], TOLERANCE)
    new, summary, notes = can.refresh(state, data=data, config=config, model=model)
    assert summary["kmeans_updates"] == cluster["n_updates"]
    np.testing.assert_array_equal(new.extra["cluster_labels"], cluster["labels"])
    # The rules of filtering, in numpy: tests/ops/test_clustering.py holds ours to the authors'.
    near = nearest < distance
    counts = np.bincount(cluster["labels"][near], minlength=model.num_classes)
    kept = near & (counts >= count)[cluster["labels"]]
    assert kept.any() and not kept.all()
    pseudo_labels = np.where(kept, cluster["labels"], -1)
    np.testing.assert_array_equal(new.extra["pseudo_labels"], pseudo_labels)
    # The authors' `centers` are out of order where the matching is no involution (README of the
    # golden files): put them back into the order of the clusters, then into that of the classes.
    matching = cluster["cluster2label"]
    by_cluster = np.empty_like(cluster["centers"])
    by_cluster[matching] = cluster["centers"]
    by_class = by_cluster[np.argsort(matching)]
    assert_close(new.extra["centers"], by_class, TOLERANCE)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (by_class, centers))
    change = 0.5 * (1 - (a * b).sum(1)).mean()
    assert_close(summary["center_change"], change, TOLERANCE, unit=1.0)  # a distance, at most 1
    assert notes == [] and int(new.extra["loop"]) == 1
    assert int(new.extra["refresh_at"]) == ArrayFeed.steps_of_a_loop


def test_the_targets_features_stand_in_memory_once(case, setting, monkeypatch):
    """They are 5 GB for DomainNet; on a CPU the clustering reads the array that the pass over the
    target has filled.
    """
    model, config, params, stats = setting
    rows, filled = case["cluster"]["tgt_x"], []

    def remembered(shape):
        filled.append(aligned_empty(shape))
        return filled[-1]

    monkeypatch.setattr(_cluster_passes, "aligned_empty", remembered)
    state = make_state(model, config, params, stats, num_target=len(rows))
    data = ArrayFeed({"target": (rows, None)})
    features, _ = _cluster_passes.target_features(
        **_cluster_passes.passes(state, data=data, config=config, model=model)
    )
    assert len(filled) == 1 and features.unsafe_buffer_pointer() == filled[0].ctypes.data


def test_evaluation_is_the_authors(case, setting):
    """Of the images that the clustering had, as in the authors' script."""
    model, config, *_ = setting
    params, stats = after_the_updates(case)
    expected, labels = case["eval"]["tgt_logits"], jnp.asarray(case["eval"]["tgt_y"])
    images = jnp.asarray(case["cluster"]["tgt_x"])
    variables = {"params": params, "batch_stats": stats}
    logits = inference(model, config.target_bn)(variables, images).logits
    assert_close(logits, expected, TOLERANCE)
    predictions = logits.argmax(1).astype(jnp.int32)
    confusion = confusion_matrix(
        labels, predictions, jnp.ones(len(labels), bool), model.num_classes
    )
    report = classification_report(confusion, [str(k) for k in range(model.num_classes)])
    # per cent
    np.testing.assert_allclose(report["accuracy"], case["eval"]["accuracy"], atol=1e-4)
    np.testing.assert_allclose(
        report["mean_class_accuracy"], case["eval"]["mean_accuracy"], atol=1e-4
    )


@pytest.mark.slow
def test_four_devices_are_one_device(case, setting):
    """Class-aware rows, padded to the devices and masked unevenly: classes are absent and short."""
    model, config, params, stats = setting
    batch = make_batch(case["data"], 0)
    batch["class_source"]["mask"][-1] = batch["class_target"]["mask"][0] = False
    for name, rows in batch.items():
        spare = -len(rows["mask"]) % 4
        batch[name] = {
            k: np.pad(v, ((0, spare),) + ((0, 0),) * (v.ndim - 1)) for k, v in rows.items()
        }

    def train_step(state, batch, rng, axis_name):
        return can.train_step(state, batch, rng, config=config, model=model, axis_name=axis_name)

    results = []
    for devices in (jax.devices()[:1], jax.devices()):
        step = parallel.compile_train_step(train_step, devices)
        state = make_state(model, config, params, stats)
        for _ in range(3):
            state, metrics = step(state, batch, jax.random.key(0))
        results.append(jax.device_get((state.params, state.batch_stats, metrics)))
    assert_trees_close(results[1], results[0], 1e-5)


def test_without_any_class_left_only_cross_entropy_trains(case, setting):
    model, config, params, stats = setting
    batch = make_batch(case["data"], 0)
    for name in ("class_source", "class_target"):
        batch[name]["mask"] = np.zeros_like(batch[name]["mask"])
    state, metrics = jax.jit(lambda s, b: can.train_step(s, b, None, config=config, model=model))(
        make_state(model, config, params, stats), batch
    )
    assert metrics["cdd"] == 0 and np.isfinite(metrics["grad_norm"])
    np.testing.assert_allclose(metrics["loss"], metrics["ce"])
    np.testing.assert_array_equal(
        state.batch_stats["classifier"]["bn2"]["mean"][1], stats["classifier"]["bn2"]["mean"][1]
    )


def test_one_class_left_trains_on(case, setting):
    model, config, params, stats = setting
    batch = make_batch(case["data"], 0)
    for name in ("class_source", "class_target"):
        batch[name]["mask"] = (
            np.arange(len(batch[name]["mask"])) < config.class_aware.source_per_class
        )
    state, metrics = jax.jit(lambda s, b: can.train_step(s, b, None, config=config, model=model))(
        make_state(model, config, params, stats), batch
    )
    assert metrics["intra"] != 0 and metrics["inter"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def converge(labels, *, loop=1, change=0.0):
    extra = {"loop": np.int32(loop), "cluster_labels": np.array([0, 1, 1, 0])}
    return alternation.has_converged(
        extra, (0.0, change), np.array(labels), authors().stop_thresholds
    )


def test_the_stop_rule_compares_two_clusterings():
    """In the authors' code the label term compares a clustering with itself and is always zero."""
    assert converge([0, 1, 1, 0])
    assert not converge([0, 1, 1, 1]), "a changed label must keep it going"
    assert not converge([0, 1, 1, 0], change=0.01), "the gap to the source still moves"
    assert not converge([0, 1, 1, 0], loop=0), "one clustering cannot tell"


def test_the_stage_ends_after_its_loops_or_when_converged(setting):
    model, config, params, stats = setting
    state = make_state(model, config, params, stats)
    begun = can.schedule(state, config=config)
    assert begun.refresh_at == 0 and not begun.finished
    extra = state.extra | {
        "loop": jnp.int32(config.max_loops),
        "loop_start": jnp.int32(10),
        "refresh_at": jnp.int32(20),
    }
    assert not can.schedule(state.replace(step=jnp.int32(19), extra=extra), config=config).finished
    assert can.schedule(state.replace(step=jnp.int32(20), extra=extra), config=config).finished
    assert can.schedule(
        state.replace(extra=state.extra | {"finished": jnp.asarray(True)}), config=config
    ).finished

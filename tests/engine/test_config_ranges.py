"""Every number of a config has a range; what lies outside is one line before data are opened."""

import json
import math

import pytest
import recipes
import tiny

from dajax.cli import recipe
from dajax.engine import config_ranges, locations, stage_checks
from dajax.engine.config_check import flatten
from dajax.errors import UserError

RECIPES = [
    *(
        f"can.py:{variant}"
        for variant in (
            "digits",
            "ablations",
            "office31",
            "visda2017",
            "domainnet",
            "folder",
            "tfds",
        )
    ),
    *(f"{name}.py" for name in recipes.NAMES),
    "clan.py:gta5_to_cityscapes",
    "adaptsegnet.py:synthia_to_cityscapes",
    "plca.py:ablations",
    "plca.py:gta5_to_cityscapes",
    "spcl.py:ablations",
    "spcl.py:gta5_to_cityscapes",
    "bicl.py:ablations",
    "bicl.py:synthia_to_cityscapes",
]


def read(name, *overrides):
    """A config of configs/; what a real variant asks for is filled in, as far as it takes it."""
    path, _, variant = name.partition(":")
    path = str(tiny.ROOT / "configs" / path)
    items = (
        ["weights=none"]
        if "_to_" in variant or variant in ("office31", "visda2017", "domainnet")
        else []
    )
    items += ["source=a", "target=b"] if variant in ("folder", "tfds") else []
    return recipe.read(f"{path}:{','.join([variant, *items])}" if variant else path, overrides)


def flat(config):
    return flatten(json.loads(config.to_json()))


@pytest.mark.parametrize("name", RECIPES)
def test_every_number_of_a_recipe_has_a_range_and_lies_in_it(name):
    config = read(name)
    without = [
        key
        for key, value in flat(config).items()
        if config_ranges.numbers_in(value) and config_ranges.range_of(key) is None
    ]
    assert not without, "add them to dajax/engine/config_ranges.py"
    stage_checks.check_before_data(config)


SCENES = "spcl.py"


@pytest.mark.parametrize(
    "name, key, value",
    [
        ("can.py", "can.optimizer.lr", "-0.1"),
        ("can.py", "can.optimizer.lr", "nan"),
        ("can.py", "can.optimizer.lr", "inf"),
        ("can.py", "can.optimizer.momentum", "1.0"),
        ("can.py", "can.optimizer.weight_decay", "-1e-4"),
        ("can.py", "source_only.steps", "0"),
        ("can.py", "source_only.steps", str(2**31)),
        ("can.py", "source_only.batch_size", "-8"),
        ("can.py", "can.max_loops", "0"),
        ("can.py", "can.cdd.weight", "-0.3"),
        ("can.py", "can.cdd.kernel_mul", "(2.0, 0.0)"),
        ("can.py", "can.class_aware.num_classes", "0"),
        ("can.py", "can.class_aware.update_fraction", "0.0"),
        ("can.py", "can.stop_thresholds", "(1e-3, -1.0, 1e-3)"),
        ("can.py", "source_only.evaluate_every", "-1"),
        ("can.py", "seed", "-1"),
        ("can.py", "seed", str(2**32)),
        ("can.py", "seed", "9" * 400),
        ("can.py", "data.seed", "-1"),
        ("can.py", "data.per_class", "0"),
        ("can.py", "data.transform.std", "(0.0,)"),
        ("can.py", "data.transform.affine.scale", "1.5"),
        ("can.py", "runtime.devices", "-1"),
        ("can.py", "runtime.log_every", "0"),
        ("can.py", "runtime.checkpoint_every", "0"),
        ("can.py", "runtime.keep_checkpoints", "0"),
        ("can.py", "runtime.report_seconds", "-1.0"),
        ("can.py", "runtime.report_seconds", "nan"),
        ("can.py", "runtime.eval_batch_size", "0"),
        ("can.py", "model.widths", "(16, 0, 64)"),
        ("dann.py", "dann.reversal.ramp_steps", "0"),
        ("dann.py", "dann.reversal.low", "2.0"),
        ("mcd.py", "mcd.num_k", "0"),
        ("can.py", "can.teacher.momentum", "1.0"),
        ("can.py", "can.teacher.momentum", "-0.1"),
        (SCENES, "spcl.temperature", "0.0"),
        (SCENES, "spcl.proportion", "1.5"),
        (SCENES, "spcl.prototype_decay", "-0.1"),
        (SCENES, "warm_up.optimizer.betas", "(0.9, 1.0)"),
        (SCENES, "data.scenes.evaluation", "0"),
        ("mdd.py", "mdd.log_floor", "1.5"),
        ("pixmatch.py", "pixmatch.fourier.beta", "0.6"),
        ("proda.py", "proda.smallest_probability", "1.5"),
        ("proda.py", "proda.smallest_label", "0.0"),
        (SCENES, "data.scenes.size", "(64, 0)"),
        (SCENES, "evaluation.aggregation_alpha", "1.5"),
        (SCENES, "evaluation.reestimate_batches", "-1"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_key_with_its_range(name, key, value):
    with pytest.raises(UserError) as error:
        stage_checks.check_before_data(read(name, f"--config.{key}={value}"))
    message = str(error.value)
    assert f"config.{key}" in message and ("expected" in message or "above" in message)


@pytest.mark.parametrize(
    "key, value",
    [
        ("can.stop_thresholds", "(1e-3, 'x', 1e-3)"),
        ("model.widths", "('16', 32, 64)"),
        ("can.cdd.kernel_num", "(True, 5)"),
        ("can.optimizer.lr_multipliers", "('/head/', 10.0)"),
        ("can.optimizer.lr_multipliers", "(('/head/', 'ten'),)"),
    ],
)
def test_what_is_no_number_within_a_tuple_is_refused_by_key(key, value):
    with pytest.raises(UserError, match=f"config.{key}=.*(is no number|expected pairs)"):
        stage_checks.check_before_data(read("can.py", f"--config.{key}={value}"))


@pytest.mark.parametrize(
    "name, key, value",
    [
        (SCENES, "source_only.optimizer.betas", (0.9,)),
        (SCENES, "data.transforms.source.size", ()),
        (SCENES, "data.transforms.source.size", (1, 2, 3)),
        (SCENES, "data.transforms.source.scale_range", 1),
        (SCENES, "data.transforms.source.scale_range", "wide"),
        (SCENES, "data.transforms.source.shorter_edge", "wide"),
        ("can.py", "data.transform.resize", "wide"),
    ],
)
def test_what_is_not_as_many_numbers_as_expected_is_refused_by_key(name, key, value):
    config = read(name)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=rf"config.{key}=.*: expected (two|one) number.*\(a, b\)"):
        stage_checks.check_before_data(config)


@pytest.mark.parametrize("key", ["can.optimizer.lr", "source_only.steps", "seed"])
@pytest.mark.parametrize("word", ["abc", "", "1e", "2.5.1"])
def test_a_word_in_place_of_a_number_names_its_key(key, word):
    with pytest.raises(
        UserError, match=f"--config.{key}={word}: .*number|--config.{key}={word}.*'{word}'"
    ):
        read("can.py", f"--config.{key}={word}")


def test_the_ends_of_ranges_are_legal():
    legal = (
        "can.optimizer.lr=0.0",
        "can.optimizer.momentum=0.0",
        f"seed={2**32 - 1}",
        "can.cdd.weight=0.0",
        "runtime.report_seconds=0.0",
    )
    stage_checks.check_before_data(read("can.py", *(f"--config.{one}" for one in legal)))
    assert (
        config_ranges.DECAY.has(0.0)
        and not config_ranges.DECAY.has(1.0)
        and not config_ranges.POSITIVE.has(0.0)
    )
    assert not config_ranges.FINITE.has(math.nan) and not config_ranges.FINITE.has(-math.inf)


def test_a_pair_from_to_is_in_order():
    with pytest.raises(
        UserError, match="data.transforms.source.shorter_edge=.*smaller number first"
    ):
        config_ranges.check({"data.transforms.source.shorter_edge": [1020, 730]})
    config_ranges.check(
        {
            "data.transforms.source.shorter_edge": [730, 730],
            "data.transforms.source.shorter_edge_": None,
        }
    )


@pytest.mark.parametrize(
    "name, overrides, says",
    [
        ("can.py", ["--config.stages=()"], ("config.stages is empty", "can, source_only")),
        ("can.py", ["--config.stages=('source_only', 'source_only')"], ("'source_only' twice",)),
        ("can.py", ["--config.stages=('source_only', 'kann')"], ("'kann'", "can, source_only")),
        (
            "can.py",
            ["--config.stages=('can',)"],
            ("config.can.init_from='source_only' is not a stage before it",),
        ),
        (
            "can.py",
            ["--config.can.method=clan"],
            ("config.can.method='clan'", "other task", "mscan"),
        ),
        ("can.py", ["--config.can.method=kann"], ("config.can.method='kann' is unknown", "mscan")),
        (
            "clan.py",
            ["--config.clan.method=can"],
            ("config.clan.method='can'", "other task", "plca"),
        ),
        ("can.py", ["--config.task=detection"], ("unknown config.task 'detection'",)),
        ("can.py", ["--config.metric=mIoU"], ("config.metric='mIoU'", "mean-class accuracy")),
        ("spcl.py", ["--config.metric=accuracy"], ("config.metric='accuracy'", "known: mIoU")),
        (
            "can.py",
            ["--config.can.predict_with=mean"],
            ("config.can.predict_with='mean'", "student, teacher"),
        ),
        (
            "can.py",
            ["--config.can.teacher.momentum=0"],
            ("config.can.predict_with='teacher'", "config.can.teacher.momentum=0.0 keeps none"),
        ),
        (
            "spcl.py",
            ["--config.spcl_labels.teacher.momentum=0.9"],
            ("config.spcl_labels.teacher.momentum=0.9", "pseudo_labels trains nothing"),
        ),
        (
            "spcl.py",
            ["--config.spcl.labels_from=warm_up"],
            ("config.spcl.labels_from='warm_up'", "warm_up_labels"),
        ),
        (
            "spcl.py",
            ["--config.spcl.labels_from=spcl_labels"],
            ("config.spcl.labels_from='spcl_labels'", "warm_up_labels"),
        ),
    ],
)
def test_stages_that_cannot_run_are_one_line_before_data_are_opened(name, overrides, says):
    with pytest.raises(UserError) as error:
        stage_checks.check_before_data(read(name, *overrides))
    assert all(part in str(error.value) for part in says), error.value


def test_a_stage_of_an_own_recipe_without_the_keys_of_every_stage_says_what_to_add():
    config = read("can.py")
    with config.unlocked():
        del config.can["teacher"]
    with pytest.raises(UserError, match="config.can lacks teacher.momentum .*NO_TEACHER"):
        stage_checks.check_before_data(config)


def test_a_batch_of_any_stage_that_does_not_divide_is_known_at_the_start():
    config = read("spcl.py", "--config.self_training.batch_size=6")
    stage_checks.check_batches(config, 2)
    with pytest.raises(
        UserError,
        match="config.self_training.batch_size=6 does not divide over 4 devices: use 4 or 8",
    ):
        stage_checks.check_batches(config, 4)
    config.warm_up_labels.batch_size = 3  # one pass over the images: filled up
    stage_checks.check_batches(config, 2)


@pytest.mark.parametrize(
    "key",
    [
        "data.source.root",
        "data.target.root",
        "data.evaluation.root",
        "data.scenes.root",
        "model.weights",
    ],
)
@pytest.mark.parametrize(
    "address", ["gs://bucket/x", "s3://b", "hdfs://host:9000/x", "https://host/x.pth"]
)
def test_an_address_is_refused_wherever_a_path_is_expected(key, address):
    with pytest.raises(UserError) as error:
        stage_checks.check_before_data(read("clan.py", f"--config.{key}={address}"))
    assert (
        f"config.{key}={address}" in str(error.value)
        and "not supported" in str(error.value)
        and "local or mounted" in str(error.value)
    )


def test_a_workdir_is_a_local_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert locations.local_path("~/runs/a", "--workdir") == "/home/somebody/runs/a"
    assert locations.local_path("runs/a:b", "--workdir") == "runs/a:b"
    for text, says in {
        "gs://bucket/run": "gs:// is not supported",
        "S3://b": "not supported",
        "file:///data/x": "write the path alone, /data/x",
        "~nobody-here/x": "no user 'nobody-here'",
    }.items():
        with pytest.raises(UserError, match=says):
            locations.local_path(text, "--workdir")
    # JAX opens it, and it stops nothing
    stage_checks.check_before_data(
        read("can.py", "--config.runtime.compilation_cache=gs://bucket/xla")
    )

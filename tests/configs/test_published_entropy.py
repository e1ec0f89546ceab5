"""What the recipes of AdvEnt, MinEnt, MaxSquare and FDA say, number by number, beside where the
authors' code says it: valeoai/ADVENT at 3e58d45, ZJULearning/MaxSquareLoss at 2fbc18f and
YanchaoYang/FDA at b9a0cdf. Of MaxSquare, what the README's commands set.
"""

import pytest
import recipes

GTA5, SYNTHIA = "gta5_to_cityscapes", "synthia_to_cityscapes"
REPEATED = (("/downsample_conv/", 4), ("/backbone/layer", 3))
HEADS_TIMES_TEN = (("/layer[56]/", 10.0),)
CAFFE_BGR = (104.00698793, 116.66876762, 122.67891434)
CONFIG = "domain_adaptation/config.py"


def of_advent(stage):
    """What the paper's two recipes share."""
    return (
        (f"{stage}.steps", 120_000, f"{CONFIG} EARLY_STOP"),
        (f"{stage}.evaluate_every", 2000, f"{CONFIG} SAVE_PRED_EVERY"),
        (f"{stage}.init_from", "", f"{CONFIG} RESTORE_FROM, ImageNet's"),
        (f"{stage}.batch_size", 1, f"{CONFIG} BATCH_SIZE_SOURCE"),
        (f"{stage}.loss.kind", "cross_entropy", "utils/loss.py cross_entropy_2d"),
        (f"{stage}.loss.aux_weight", 0.1, f"{CONFIG} LAMBDA_SEG_AUX"),
        (f"{stage}.optimizer.lr", 2.5e-4, f"{CONFIG} LEARNING_RATE"),
        (f"{stage}.optimizer.momentum", 0.9, f"{CONFIG} MOMENTUM"),
        (f"{stage}.optimizer.weight_decay", 5e-4, f"{CONFIG} WEIGHT_DECAY"),
        (f"{stage}.optimizer.power", 0.9, f"{CONFIG} POWER"),
        (f"{stage}.optimizer.horizon_steps", 250_000, f"{CONFIG} MAX_ITERS"),
        (f"{stage}.optimizer.lr_multipliers", HEADS_TIMES_TEN, "model/deeplabv2.py"),
        (f"{stage}.optimizer.repeats", REPEATED, "model/deeplabv2.py get_1x_lr_params"),
        ("model.heads", "multi", f"{CONFIG} MULTI_LEVEL"),
        ("model.aspp_branches", 4, "model/deeplabv2.py ClassifierModule"),
        ("model.train_norm_affine", False, "model/deeplabv2.py requires_grad"),
        ("data.transforms.source.size", (720, 1280), f"{CONFIG} INPUT_SIZE_SOURCE"),
        ("data.transforms.target.size", (512, 1024), f"{CONFIG} INPUT_SIZE_TARGET"),
        ("data.transforms.source.flip", False, "dataset/gta5.py, none"),
        ("data.transforms.source.mean", CAFFE_BGR, f"{CONFIG} IMG_MEAN"),
        ("data.transforms.source.channels", "bgr", "dataset/base_dataset.py preprocess"),
    )


def of_fda(stage, beta):
    """What its networks of all rounds share."""
    return (
        (f"{stage}.steps", 100_000, "options/train_options.py num-steps-stop"),
        (f"{stage}.evaluate_every", 2500, "options/train_options.py save-pred-every"),
        (f"{stage}.init_from", "", "SStrain.py --init-weights, in each round"),
        (f"{stage}.batch_size", 1, "options/train_options.py batch-size"),
        (f"{stage}.style.of", "target", "train.py FDA_source_to_target"),
        (f"{stage}.style.beta", beta, "README LB"),
        (f"{stage}.target_loss.kind", "robust_entropy", "model/deeplab.py loss_ent"),
        (f"{stage}.target_loss.eta", 2.0, "README ita"),
        (f"{stage}.target_loss.weight", 0.005, "README entW"),
        (f"{stage}.optimizer.lr", 2.5e-4, "options/train_options.py learning-rate"),
        (f"{stage}.optimizer.horizon_steps", 150_000, "options/train_options.py num-steps"),
        (f"{stage}.optimizer.lr_multipliers", HEADS_TIMES_TEN, "model/deeplab.py"),
        (f"{stage}.optimizer.repeats", REPEATED, "model/deeplab.py get_1x_lr_params_NOscale"),
    )


PUBLISHED = {
    ("advent", GTA5): (
        *of_advent("advent"),
        ("advent.adversarial.input", "information", "train_UDA.py prob_2_entropy"),
        ("advent.adversarial.kind", "vanilla", "utils/loss.py bce_loss"),
        ("advent.adversarial.weight", 0.001, f"{CONFIG} LAMBDA_ADV_MAIN"),
        ("advent.adversarial.aux_weight", 0.0002, f"{CONFIG} LAMBDA_ADV_AUX"),
        ("advent.adversarial.width", 64, "model/discriminator.py ndf"),
        ("advent.discriminator_optimizer.lr", 1e-4, f"{CONFIG} LEARNING_RATE_D"),
        ("advent.discriminator_optimizer.betas", (0.9, 0.99), "train_UDA.py optim.Adam"),
        ("advent.discriminator_optimizer.horizon_steps", 250_000, f"{CONFIG} MAX_ITERS"),
        ("advent.target_hw", (512, 1024), f"{CONFIG} INPUT_SIZE_TARGET"),
        ("advent.source_temperature", 1.0, "train_UDA.py, none"),
        ("advent.class_balanced", False, "dataset/gta5.py, uniform"),
    ),
    ("advent", SYNTHIA): (("data.source.space", "synthia", "paper, 16 classes"),),
    ("minent", GTA5): (
        *of_advent("minent"),
        ("minent.target_loss.kind", "entropy", "utils/loss.py entropy_loss"),
        ("minent.target_loss.weight", 0.001, f"{CONFIG} LAMBDA_ENT_MAIN"),
        ("minent.target_loss.aux_weight", 0.0002, f"{CONFIG} LAMBDA_ENT_AUX"),
        ("minent.style.of", "source", "train_UDA.py, none"),
        ("minent.guidance.weight", 0.0, "train_UDA.py, none"),
    ),
    ("maxsquare", GTA5): (
        ("source_only.steps", 80_000, "README iter_stop"),
        ("source_only.optimizer.horizon_steps", 200_000, "README iter_max"),
        ("source_only.optimizer.lr", 2.5e-4, "README lr"),
        ("max_square.init_from", "source_only", "README pretrained_ckpt_file"),
        ("max_square.steps", 29_750, "solve_gta5.py, 5 rounds of 2 epochs of 2,975"),
        ("max_square.evaluate_every", 2975, "train_source.py, each epoch"),
        ("max_square.optimizer.horizon_steps", 29_760, "solve_gta5.py iter_max"),
        ("max_square.optimizer.lr", 2.5e-4, "README lr"),
        ("max_square.optimizer.weight_decay", 5e-4, "README weight_decay"),
        (
            "max_square.optimizer.repeats",
            (("/downsample_", 4), ("/backbone/layer", 3)),
            "graphs/models/deeplab_multi.py get_1x_lr_params_NOscale, normalisation included",
        ),
        ("max_square.batch_size", 1, "train_source.py batch_size"),
        ("max_square.target_loss.kind", "max_square", "README target_mode"),
        ("max_square.target_loss.weight", 0.1, "README lambda_target"),
        ("max_square.target_loss.aux_weight", 0.0, "solve_gta5.py, guidance alone"),
        ("max_square_iw.target_loss.kind", "image_weighted_max_square", "README target_mode"),
        ("max_square_iw.target_loss.ratio", 0.2, "README IW_ratio"),
        ("max_square_iw.target_loss.weight", 0.1, "README lambda_target"),
        ("max_square_iw.guidance.weight", 0.0, "README, without multi"),
        ("model.aspp_branches", 2, "graphs/models/deeplab_multi.py, return within the loop"),
        ("model.train_norm_affine", True, "graphs/models/deeplab_multi.py; README freeze_bn False"),
        ("data.transforms.source.size", (720, 1280), "README crop_size"),
        ("data.transforms.target.size", (512, 1024), "README, Cityscapes resized to 1024x512"),
        ("data.transforms.target.flip", True, "datasets/cityscapes_Dataset.py random_mirror"),
    ),
    ("maxsquare", f"{GTA5},levels=multi"): (
        ("max_square_iw_multi.target_loss.weight", 0.09, "README lambda_target"),
        ("max_square_iw_multi.target_loss.ratio", 0.2, "README IW_ratio"),
        ("max_square_iw_multi.guidance.weight", 0.1 * 0.09, "README lambda_seg, lambda_target"),
        ("max_square_iw_multi.guidance.threshold", 0.95, "README threshold"),
        ("max_square_iw_multi.loss.aux_weight", 0.1, "README lambda_seg"),
        ("source_only.loss.aux_weight", 0.1, "README lambda_seg"),
        ("model.heads", "multi", "README multi"),
        ("data.transforms.target.size", (640, 1280), "README target_crop_size"),
    ),
    ("maxsquare", SYNTHIA): (
        ("data.source.space", "synthia", "class_16"),
        ("data.transforms.source.size", (760, 1280), "README, SYNTHIA at 1280x760"),
    ),
    ("fda", GTA5): (
        *of_fda("fda_01", 0.01),
        *of_fda("fda_05", 0.05),
        *of_fda("sst2_09", 0.09),
        ("mbt_0.init_from", ("fda_01", "fda_05", "fda_09"), "README, restore-opt1 to 3"),
        ("mbt_0.rule", "quantile", "getSudoLabel_multi.py thres"),
        ("mbt_0.proportion", 0.66, "getSudoLabel_multi.py"),
        ("mbt_0.cap", 0.9, "getSudoLabel_multi.py"),
        ("mbt_0.statistics", "running", "getSudoLabel_multi.py model.eval()"),
        ("sst2_01.labels_from", "mbt_1", "README label-folder"),
        ("model.heads", "single", "model/deeplab.py"),
        ("model.aspp_branches", 4, "model/deeplab.py Classifier_Module"),
        ("model.train_norm_affine", False, "model/deeplab.py requires_grad"),
        ("data.transforms.source.size", (512, 1024), "data/__init__.py crop_size"),
        ("data.transforms.source.shorter_edge", (720, 720), "data/__init__.py image_sizes"),
        ("data.transforms.target.size", (512, 1024), "data/__init__.py image_sizes"),
        ("data.transforms.target.flip", False, "data/cityscapes_dataset_label.py, none"),
        ("data.transforms.source.mean", CAFFE_BGR, "train.py IMG_MEAN"),
    ),
    ("fda", SYNTHIA): (
        ("data.transforms.source.shorter_edge", (760, 760), "data/__init__.py image_sizes"),
    ),
}


@pytest.mark.parametrize(
    "recipe, argument", PUBLISHED, ids=[":".join(variant) for variant in PUBLISHED]
)
def test_a_recipe_has_the_numbers_of_its_authors(recipe, argument):
    config = recipes.get_config(recipe, f"{argument},weights=none")
    rows = PUBLISHED[recipe, argument]
    assert rows and not recipes.differing(config, rows)


def test_the_stages_are_those_of_the_readmes():
    fda = recipes.get_config("fda", f"{GTA5},weights=none")
    assert len(fda.stages) == 12 and fda.stages[3::4] == ("mbt_0", "mbt_1", "mbt_2")
    maxsquare = recipes.get_config("maxsquare", f"{GTA5},weights=none")
    assert maxsquare.stages == ("source_only", "max_square", "max_square_iw")


@pytest.mark.parametrize("recipe", ["advent", "minent", "maxsquare", "fda"])
@pytest.mark.parametrize("argument", [None, "own,source=DIR,target=DIR"])
def test_every_method_stands_beside_its_control(recipe, argument):
    """Which differs from it in nothing but the losses and the style of the target."""
    config = recipes.get_config(recipe, argument)
    name = {"maxsquare": "max_square", "fda": "fda_09"}.get(recipe, recipe)
    method, control = config[name].to_dict(), config.control.to_dict()
    for key in ("target_loss", "guidance", "style", "adversarial"):
        method.pop(key, None), control.pop(key, None)
    assert method == control
    assert config.stages[:3] == ("source_only", "adabn", "control")

"""What the recipes of CBST, FADA, IntraDA, PixMatch and ProDA say, number by number, beside where
the authors' code says it: CRST f7e4df0, FADA a1c6403, IntraDA 6b4ea5a, PixMatch c9a7603 and ProDA
9ba80c7.
"""

import pytest
import recipes

GTA5, SYNTHIA = "gta5_to_cityscapes", "synthia_to_cityscapes"
# get_1x_lr_params_NOscale lists a block's parameters three times, its shortcut's four; scale and
# bias are in the list where they have gradients.
REPEATS = (("/downsample_conv/", 4), ("/backbone/layer", 3))
TRAINED_NORM_REPEATS = (("/downsample_", 4), ("/backbone/layer", 3))
HEADS_TIMES_TEN = (("/layer[56]/", 10.0),)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
JITTER = dict(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2, before_geometry=True)
CAFFE_MEAN = (103.939, 116.779, 123.68)

# {(recipe, argument): ((key, value, where it stands), ...)}
PUBLISHED = {
    ("cbst", GTA5): (
        *(
            (f"labels_{i}.{key}", value, origin)
            for i, portion in enumerate((0.2, 0.25, 0.3))
            for key, value, origin in (
                ("rule", "class_balanced", "crst_seg.py label_selection"),
                ("share", portion, "crst_seg.py init-tgt-port, tgt-port-step"),
                ("keep_every", 4, "crst_seg.py ds-rate"),
            )
        ),
        *(
            (f"cbst_{i}.{key}", value, origin)
            for i, share in enumerate((0.03, 0.0325, 0.035))
            for key, value, origin in (
                ("source_share", share, "crst_seg.py init-src-port, src-port-step"),
                ("source_weight", 0.0, "one list of both domains"),
                ("kld_weight", 0.0, "CBST has none"),
                ("rare_crops.share", 0.001, "crst_seg.py mine-port"),
                ("rare_crops.probability", 0.8, "crst_seg.py mine-chance"),
                ("batch_size", 2, "crst_seg.py batch-size"),
                ("norm", "frozen", "crst_seg.py train, model.eval()"),
                ("optimizer.lr", 5e-5, "crst_seg.py learning-rate"),
                ("optimizer.schedule", "constant", "crst_seg.py power 0"),
                ("optimizer.momentum", 0.9, "crst_seg.py momentum"),
                ("optimizer.weight_decay", 5e-4, "crst_seg.py weight-decay"),
                ("optimizer.lr_multipliers", HEADS_TIMES_TEN, "crst_seg.py get_10x_lr_params"),
                ("optimizer.repeats", REPEATS, "crst_seg.py get_1x_lr_params_NOscale"),
            )
        ),
        # the share of the source is rounded down, an epoch's batches up
        ("cbst_0.steps", 3724, "crst_seg.py epr 2, of 2,975 and 3 % of 24,966 images"),
        ("cbst_1.steps", 3786, "the same, 3.25 %"),
        ("cbst_2.steps", 3848, "the same, 3.5 %"),
        ("source_only.steps", 100_000, "train.py num-steps"),
        ("source_only.batch_size", 4, "train.py batch-size"),
        ("source_only.norm", "frozen", "train.py model.eval()"),
        ("source_only.transform", "source_only", "train.py has a crop of its own"),
        ("source_only.optimizer.lr", 2.5e-4, "train.py learning-rate"),
        ("source_only.optimizer.horizon_steps", 0, "train.py lr_poly, over all steps"),
        ("source_only.optimizer.lr_multipliers", HEADS_TIMES_TEN, "train.py get_10x_lr_params"),
        ("source_only.optimizer.repeats", REPEATS, "train.py get_1x_lr_params_NOscale"),
        ("data.transforms.source_only.size", (500, 500), "train.py input-size"),
        ("data.transforms.source_only.shorter_edge", (526, 1578), "train.py 0.5 to 1.5 of 1052"),
        ("data.transforms.source_only.flip", True, "train.sh random-mirror"),
        ("data.transforms.source.size", (512, 1024), "crst_seg.py input-size"),
        ("data.transforms.target.size", (512, 1024), "crst_seg.py input-size"),
        ("data.transforms.target.shorter_edge", (512, 1536), "crst_seg.py 0.5 to 1.5"),
        ("data.transforms.target.mean", IMAGENET[0], "crst_seg.py normalize"),
        ("data.transforms.evaluation.size", (921, 1843), "crst_seg.py test-scale 0.9"),
    ),
    ("cbst", f"{GTA5},regulariser=mrkld"): (
        ("cbst_0.kld_weight", 0.01, "crst_seg.py mr-weight-kld 0.1, twice"),
    ),
    ("cbst", f"{GTA5},regulariser=mrkld_paper"): (("cbst_0.kld_weight", 0.1, "paper, alpha"),),
    ("cbst", f"{GTA5},backbone=vgg16_fcn8s"): (
        ("model.backbone", "vgg16_fcn8s", "a VGG-16 in the paper; FCN8s as CLAN's"),
        ("data.transforms.source.channels", "bgr", "vgg16-00b39a1b.pth"),
        ("data.transforms.target.mean", CAFFE_MEAN, "vgg16-00b39a1b.pth"),
        ("data.transforms.evaluation.divisor", 1.0, "vgg16-00b39a1b.pth"),
        ("source_only.optimizer.lr_multipliers", (), "AdaptSegNet model/deeplab_vgg.py"),
        ("source_only.optimizer.repeats", (), "AdaptSegNet model/deeplab_vgg.py"),
        ("source_only.norm", "", "a VGG normalises nothing"),
        ("cbst_2.optimizer.repeats", (), "AdaptSegNet model/deeplab_vgg.py"),
        ("cbst_2.optimizer.lr_multipliers", (), "AdaptSegNet model/deeplab_vgg.py"),
        ("cbst_2.optimizer.lr", 5e-5, "as on the ResNet"),
        ("cbst_2.norm", "", "a VGG normalises nothing"),
    ),
    ("cbst", SYNTHIA): (
        ("cbst_0.steps", 3258, "epr 2, of 2,975 and 3 % of 9,400 images"),
        ("cbst_1.steps", 3280, "the same, 3.25 %"),
        ("cbst_2.steps", 3304, "the same, 3.5 %"),
    ),
    ("fada", GTA5): (
        ("source_only.steps", 20_000, "deeplabv2_r101_src.yaml STOP_ITER"),
        ("source_only.batch_size", 8, "deeplabv2_r101_src.yaml BATCH_SIZE"),
        ("source_only.optimizer.lr", 5e-4, "deeplabv2_r101_src.yaml BASE_LR"),
        ("source_only.optimizer.horizon_steps", 31_250, "deeplabv2_r101_src.yaml MAX_ITER"),
        ("source_only.transform", "source_only", "views of its own"),
        ("data.transforms.source_only.color_jitter", None, "deeplabv2_r101_src.yaml, no HUE"),
        ("data.transforms.source_only.size", (720, 1280), "defaults.py SOURCE_INPUT_SIZE_TRAIN"),
        (
            "data.transforms.source.color_jitter",
            JITTER,
            "deeplabv2_r101_adv.yaml BRIGHTNESS to HUE",
        ),
        (
            "data.transforms.self_training.color_jitter",
            JITTER,
            "deeplabv2_r101_tgt_self_distill.yaml BRIGHTNESS to HUE",
        ),
        ("data.transforms.evaluation.size", (512, 1024), "defaults.py INPUT_SIZE_TEST"),
        ("fada.steps", 40_000, "deeplabv2_r101_adv.yaml STOP_ITER"),
        ("fada.batch_size", 4, "deeplabv2_r101_adv.yaml BATCH_SIZE 8"),
        ("fada.temperature", 1.8, "train_adv.py temperature"),
        ("fada.cap", 0.9, "train_adv.py soft labels"),
        ("fada.adversarial.weight", 0.001, "train_adv.py loss_adv_tgt"),
        ("fada.adversarial.width", 256, "core/models/discriminator.py"),
        ("fada.optimizer.lr", 2.5e-4, "deeplabv2_r101_adv.yaml BASE_LR"),
        ("fada.optimizer.horizon_steps", 62_500, "deeplabv2_r101_adv.yaml MAX_ITER"),
        ("fada.optimizer.lr_multipliers", HEADS_TIMES_TEN, "train_adv.py optimizer_cls"),
        ("fada.discriminator_optimizer.lr", 1e-4, "deeplabv2_r101_adv.yaml BASE_LR_D"),
        ("fada.discriminator_optimizer.betas", (0.9, 0.99), "train_adv.py optimizer_D"),
        ("fada_labels.cap", 0.0, "test.py saveres, every pixel"),
        ("self_distillation.init_from", "", "deeplabv2_r101_tgt_self_distill.yaml, ImageNet"),
        ("self_distillation.steps", 20_000, "deeplabv2_r101_tgt_self_distill.yaml STOP_ITER"),
        ("self_distillation.norm", "train", "deeplabv2_r101_tgt_self_distill.yaml FREEZE_BN"),
        ("model.norm", "frozen_no_eps", "core/models/layers.py"),
    ),
    ("fada", f"{GTA5},backbone=vgg16"): (
        ("model.backbone", "vgg16", "deeplabv2_vgg16_*.yaml NAME; feature_extractor.py"),
        ("model.aspp_branches", 4, "core/models/classifier.py"),
        ("data.transforms.source.channels", "bgr", "deeplabv2_vgg16_*.yaml TO_BGR255"),
        ("data.transforms.target.divisor", 1.0, "deeplabv2_vgg16_*.yaml TO_BGR255"),
        ("data.transforms.evaluation.mean", CAFFE_MEAN, "deeplabv2_vgg16_*.yaml PIXEL_MEAN"),
        ("data.transforms.self_training.std", (1.0, 1.0, 1.0), "deeplabv2_vgg16_*.yaml PIXEL_STD"),
        ("data.transforms.source_only.color_jitter", None, "deeplabv2_vgg16_src.yaml, no HUE"),
        ("data.transforms.source.color_jitter", JITTER, "deeplabv2_vgg16_adv.yaml"),
        (
            "data.transforms.self_training.color_jitter",
            None,
            "deeplabv2_vgg16_tgt_self_distill.yaml, no HUE",
        ),
        ("source_only.steps", 20_000, "deeplabv2_vgg16_src.yaml STOP_ITER"),
        ("source_only.batch_size", 8, "deeplabv2_vgg16_src.yaml BATCH_SIZE"),
        ("source_only.optimizer.lr", 5e-4, "deeplabv2_vgg16_src.yaml BASE_LR"),
        ("fada.steps", 40_000, "deeplabv2_vgg16_adv.yaml STOP_ITER"),
        ("fada.optimizer.lr", 2.5e-4, "deeplabv2_vgg16_adv.yaml BASE_LR"),
        ("fada.optimizer.horizon_steps", 62_500, "deeplabv2_vgg16_adv.yaml MAX_ITER"),
        ("fada.optimizer.lr_multipliers", HEADS_TIMES_TEN, "train_adv.py optimizer_cls"),
        ("fada.discriminator_optimizer.lr", 1e-4, "deeplabv2_vgg16_adv.yaml BASE_LR_D"),
        ("fada.adversarial.width", 256, "core/models/build.py mid_nc"),
        ("self_distillation.steps", 20_000, "deeplabv2_vgg16_tgt_self_distill.yaml STOP_ITER"),
        ("self_distillation.optimizer.lr", 5e-4, "deeplabv2_vgg16_tgt_self_distill.yaml BASE_LR"),
        ("self_distillation.norm", "", "a VGG normalises nothing"),
    ),
    ("fada", f"{SYNTHIA},backbone=vgg16"): (
        ("data.source.space", "synthia", "deeplabv2_vgg16_adv_synthia.yaml NUM_CLASSES 16"),
        ("data.transforms.source.size", (760, 1280), "deeplabv2_vgg16_adv_synthia.yaml"),
        ("data.transforms.source_only.size", (760, 1280), "deeplabv2_vgg16_src_synthia.yaml"),
        (
            "data.transforms.source_only.color_jitter",
            None,
            "deeplabv2_vgg16_src_synthia.yaml, no HUE",
        ),
        (
            "data.transforms.self_training.color_jitter",
            None,
            "deeplabv2_vgg16_tgt_synthia_self_distill.yaml, no HUE",
        ),
    ),
    ("fada", SYNTHIA): (
        (
            "data.transforms.source_only.color_jitter",
            None,
            "deeplabv2_r101_src_synthia.yaml, no HUE",
        ),
        (
            "data.transforms.self_training.color_jitter",
            JITTER,
            "deeplabv2_r101_tgt_synthia_self_distill.yaml BRIGHTNESS to HUE",
        ),
    ),
    ("intrada", GTA5): (
        *(
            (f"{stage}.{key}", value, origin)
            for stage in ("advent", "intrada")
            for key, value, origin in (
                ("steps", 120_000, "advent.yml EARLY_STOP"),
                ("batch_size", 1, "advent BATCH_SIZE"),
                ("init_from", "", "ImageNet"),
                ("adversarial.input", "information", "prob_2_entropy"),
                ("adversarial.weight", 0.001, "LAMBDA_ADV_MAIN"),
                ("adversarial.aux_weight", 0.0002, "LAMBDA_ADV_AUX"),
                ("optimizer.lr", 2.5e-4, "LEARNING_RATE"),
                ("optimizer.horizon_steps", 250_000, "MAX_ITERS"),
                ("discriminator_optimizer.lr", 1e-4, "LEARNING_RATE_D"),
            )
        ),
        ("intrada.easy_share", 0.67, "entropy_rank/entropy.py lambda1"),
        ("intrada.favoured", (), "entropy_rank/entropy.py normalize"),
        ("model.heads", "multi", "MULTI_LEVEL"),
        ("model.aspp_branches", 4, "advent/model/deeplabv2.py"),
        ("advent_labels.proportion", 0.0, "entropy.py, every pixel"),
    ),
    ("pixmatch", GTA5): (
        ("pixmatch.init_from", "source_only", "the source model"),
        ("pixmatch.steps", 40_000, "configs/gta5.yaml opt.iterations"),
        ("pixmatch.batch_size", 1, "configs/gta5.yaml loader batch_size"),
        ("pixmatch.optimizer.lr", 1e-4, "opt.lr"),
        ("pixmatch.loss.aux_weight", 0.1, "lam_aux"),
        ("pixmatch.threshold", 0.0, "pseudolabel_threshold"),
        ("pixmatch.fourier.beta", 0.01, "fourier_beta"),
        ("pixmatch.fourier.weight", 0.1, "lam_fourier"),
        ("pixmatch.cutmix.weight", 0.1, "lam_cutmix"),
        ("pixmatch.teacher.momentum", 0.999, "ema_decay"),
        ("pixmatch.predict_with", "teacher", "main.py, the average is evaluated"),
        ("pixmatch.optimizer.horizon_steps", 0, "main.py poly_lr_scheduler, over all iterations"),
        ("pixmatch.optimizer.repeats", TRAINED_NORM_REPEATS, "models/deeplab_multi.py"),
        ("source_only.steps", 80_000, "README, MaxSquare's checkpoint: its README iter_stop"),
        ("source_only.optimizer.horizon_steps", 200_000, "the same, iter_max"),
        ("source_only.optimizer.repeats", TRAINED_NORM_REPEATS, "the same"),
        ("model.heads", "multi", "models/deeplab_multi.py"),
        ("model.aspp_branches", 2, "models/deeplab_multi.py, return within the loop"),
        ("model.train_norm_affine", True, "models/deeplab_multi.py, bn1 alone has no gradient"),
        ("data.transforms.target.size", (640, 1280), "configs/gta5.yaml crop_size"),
        ("data.transforms.evaluation.size", (640, 1280), "configs/gta5.yaml crop_size"),
        ("data.transforms.source.flip", True, "configs/gta5.yaml random_mirror"),
    ),
    ("pixmatch", SYNTHIA): (
        ("pixmatch.init_from", "", "ImageNet"),
        ("data.source.space", "synthia", "configs/synthia.yaml class_16"),
        ("data.evaluation.space", "cityscapes_16", "configs/synthia.yaml class_16"),
    ),
    ("proda", GTA5): (
        ("warm_up.adversarial.kind", "least_squares", "warm-up, LSGAN"),
        ("warm_up.adversarial.weight", 0.01, "warm-up, LSGAN"),
        ("warm_up.norm", "frozen", "README, --freeze_bn"),
        ("warm_up.norm_affine", "frozen", "README, --freeze_bn"),
        ("warm_up.steps", 62_412, "epochs 84 of 743 batches"),
        ("warm_up.batch_size", 4, "bs"),
        ("warm_up.optimizer.lr", 2.5e-4, "README, --lr"),
        ("warm_up.optimizer.horizon_steps", 90_000, "train_iters"),
        ("warm_up.optimizer.weight_decay", 2e-4, "wd"),
        ("warm_up.optimizer.lr_multipliers", (("/layer[56]/", 10.0),), "get_10x_lr_params"),
        ("warm_up.optimizer.repeats", REPEATS, "get_1x_lr_params"),
        ("warm_up.discriminator_optimizer.lr", 1e-4, "adaptation_modelv2.py"),
        ("warm_up.discriminator_optimizer.horizon_steps", 90_000, "train_iters"),
        ("proda.steps", 62_412, "epochs 84 of 743 batches"),
        ("proda.optimizer.horizon_steps", 90_000, "train_iters"),
        ("proda.optimizer.repeats", (), "BaseNet.parameters()"),
        ("proda.norm", "", "no --freeze_bn"),
        ("proda.norm_affine", "trained", "no --freeze_bn"),
        ("proda.batch_size", 4, "bs"),
        ("proda.optimizer.lr", 1e-4, "lr"),
        ("proda.optimizer.weight_decay", 2e-4, "wd"),
        ("proda.optimizer.lr_multipliers", (), "adaptation_modelv2.py, without finetune"),
        ("proda.ce_weight", 0.1, "README, symmetric cross-entropy"),
        ("proda.rce_weight", 1.0, "README, symmetric cross-entropy"),
        ("proda.kld_weight", 0.1, "regular_w"),
        ("proda.consistency_weight", 10.0, "proto_consistW"),
        ("proda.temperature", 1.0, "proto_temperature"),
        ("proda.threshold", 0.0, "train_thred"),
        ("proda.min_pixels", 10, "calculate_mean_vector"),
        ("proda.prototype_decay", 0.9999, "proto_momentum 1e-4"),
        ("proda.teacher.momentum", 0.999, "ema"),
        ("data.transforms.target.size", (512, 896), "rcrop"),
        ("data.transforms.target.shorter_edge", (550, 1650), "resize, RandomSized"),
        ("data.transforms.source.shorter_edge", (604, 1813), "resize, RandomSized"),
        ("data.transforms.source.channels", "rgb", "gta5_dataset.py"),
        ("data.transforms.source.divisor", 255.0, "gta5_dataset.py"),
        ("data.transforms.source.mean", (0.0, 0.0, 0.0), "gta5_dataset.py"),
        ("data.transforms.source.std", (1.0, 1.0, 1.0), "gta5_dataset.py"),
        ("data.transforms.evaluation.size", (1024, 2048), "cityscapes_dataset.py img_size"),
    ),
    ("proda", SYNTHIA): (
        ("data.source.space", "synthia", "README n_class 16"),
        ("data.evaluation.space", "cityscapes_16", "README n_class 16"),
        ("proda.kld_weight", 0.0, "README, no regular_w"),
    ),
}


@pytest.mark.parametrize(
    "recipe, argument", PUBLISHED, ids=[":".join(variant) for variant in PUBLISHED]
)
def test_a_recipe_has_the_numbers_of_its_authors(recipe, argument):
    roots = "source_root=a,target_root=b,weights=none"
    config = recipes.get_config(recipe, f"{argument},{roots}")
    assert recipes.differing(config, PUBLISHED[recipe, argument]) == []


@pytest.mark.parametrize("recipe", sorted({recipe for recipe, _ in PUBLISHED}))
def test_the_control_takes_as_many_steps_as_the_method(recipe):
    """Of the scenes: all stages between source only and oracle that train."""
    config = recipes.get_config(recipe)
    floor = ("source_only", "adabn", "control", "oracle")
    method = [
        config[name].steps
        for name in config.stages
        if name not in floor and config[name].method != "pseudo_labels"
    ]
    assert config.control.steps == sum(method)
    assert config.control.init_from == next(
        config[name].init_from for name in config.stages if name not in floor
    )

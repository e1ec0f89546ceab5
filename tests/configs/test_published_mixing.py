"""What the recipes of DACS, DAFormer, HRDA and MIC say, number by number, beside where the authors'
code says it: vikolss/DACS at cc6a87f; lhoyer/DAFormer at e6f6e04, below configs/; lhoyer/MIC at
2f932a9, below seg/configs/. VFM-UDA: tue-mps/vfm-uda at 598fdbc.
"""

import pytest
import recipes

GTA5, SYNTHIA = "gta5_to_cityscapes", "synthia_to_cityscapes"
OF_DAFORMER = "daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py"
OF_MIC = "mic/gtaHR2csHR_mic_hrda.py"
OF_VFM = "training/uda_vit/uda_vit_generic.py"
THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)


def strengths(stage, value, where):
    """The colour jitter's, the same for all operations."""
    names = ("brightness", "contrast", "saturation", "hue")
    return tuple((f"{stage}.color_jitter.{name}", value, where) for name in names)


def of_all(stage):
    """What DACS and its successors share."""
    return (
        (f"{stage}.threshold", 0.968, "trainUDA.py; _base_/uda/dacs.py pseudo_threshold"),
        (f"{stage}.batch_size", 2, "batch_size; samples_per_gpu"),
        (f"{stage}.mix.weight", 1.0, "consistency_weight; the sum of the losses"),
        (f"{stage}.color_jitter.kind", "kornia", "kornia.augmentation.ColorJitter of 0.5.8"),
        (f"{stage}.color_jitter.probability", 0.8, "where the random number exceeds 0.2"),
        (f"{stage}.blur.probability", 0.5, "where the random number exceeds 0.5"),
        (f"{stage}.blur.sigma", (0.15, 1.15), "np.random.uniform(0.15, 1.15)"),
        (f"{stage}.predict_with", "student", "evaluation of model, not of ema_model"),
        (f"{stage}.statistics", "passes", "model.train() in every pass"),
    )


def of_transformers(stage, where):
    """What DAFormer, HRDA and MIC share."""
    return (
        *of_all(stage),
        *strengths(stage, 0.2, "_base_/uda/dacs.py color_jitter_strength"),
        (f"{stage}.steps", 40_000, f"{where} max_iters"),
        (f"{stage}.evaluate_every", 4000, f"{where} evaluation"),
        (f"{stage}.teacher.momentum", 0.999, "alpha"),
        (f"{stage}.teacher.begins_with", "initial", "mmseg/models/uda/dacs.py _update_ema"),
        (f"{stage}.mix.classes_of", "batch", "get_class_masks: unique of the batch"),
        (f"{stage}.source_mean", "all", "mmseg's reduction"),
        (f"{stage}.feature_distance.weight", 0.005, f"{where} imnet_feature_dist_lambda"),
        (f"{stage}.feature_distance.classes", THINGS, f"{where} imnet_feature_dist_classes"),
        (
            f"{stage}.feature_distance.min_share",
            0.75,
            f"{where} imnet_feature_dist_scale_min_ratio",
        ),
        (f"{stage}.rare_classes.temperature", 0.01, f"{where} class_temp"),
        (f"{stage}.rare_classes.min_pixels", 3000, f"{where} min_pixels"),
        (f"{stage}.optimizer.kind", "adamw", "_base_/schedules/adamw.py"),
        (f"{stage}.optimizer.lr", 6e-5, f"{where} optimizer"),
        (f"{stage}.optimizer.betas", (0.9, 0.999), "_base_/schedules/adamw.py"),
        (f"{stage}.optimizer.weight_decay", 0.01, "_base_/schedules/adamw.py"),
        (f"{stage}.optimizer.lr_multipliers", (("head", 10.0), ("norm", 1.0)), f"{where} head"),
        (f"{stage}.optimizer.decay_multipliers", (("head", 1.0), ("norm", 0.0)), f"{where} norm"),
        (f"{stage}.optimizer.schedule", "poly_times_warmup", "_base_/schedules/poly10warm.py"),
        (f"{stage}.optimizer.power", 1.0, "_base_/schedules/poly10warm.py"),
        (f"{stage}.optimizer.warmup_steps", 1500, "_base_/schedules/poly10warm.py warmup_iters"),
        (f"{stage}.optimizer.warmup_ratio", 1e-6, "_base_/schedules/poly10warm.py"),
        (f"{stage}.optimizer.min_lr", 0.0, "_base_/schedules/poly10warm.py"),
        ("model.backbone", "mit_b5", "_base_/models/daformer_sepaspp_mitb5.py"),
        ("model.head", "daformer", "_base_/models/daformer_sepaspp_mitb5.py"),
        ("model.head_channels", 256, "_base_/models/daformer_sepaspp_mitb5.py"),
        ("model.dropout", 0.1, "_base_/models/daformer_sepaspp_mitb5.py dropout_ratio"),
        ("evaluation.align_corners", False, "_base_/models/daformer_sepaspp_mitb5.py"),
        ("data.transforms.source.flip", True, "RandomFlip prob=0.5"),
        ("data.transforms.target.flip", True, "RandomFlip prob=0.5"),
        ("data.transforms.source.max_class_share", 0.75, "cat_max_ratio"),
    )


def of_hrda(stage):
    """What HRDA and MIC share."""
    return (
        *of_transformers(stage, OF_MIC),
        (f"{stage}.rare_classes.min_crop_ratio", 2.0, f"{OF_MIC} min_crop_ratio"),
        (
            f"{stage}.margins",
            (30 / 1024, 240 / 1024, 30 / 2048, 30 / 2048),
            f"{OF_MIC} crop_pseudo_margins, of 1024x2048",
        ),
        (f"{stage}.ignore_top", 0, f"{OF_MIC}, margins instead"),
        ("model.hrda.detail_hw", (512, 512), f"{OF_MIC} hr_crop_size"),
        ("model.hrda.detail_weight", 0.1, f"{OF_MIC} hr_loss_weight"),
        ("data.transforms.source.size", (1024, 1024), "uda_gtaHR_to_cityscapesHR_1024x1024.py"),
        ("data.transforms.source.fit", (1440, 2560), "uda_gtaHR_to_cityscapesHR_1024x1024.py"),
        ("data.transforms.evaluation.size", (1024, 2048), "uda_gtaHR_to_cityscapesHR_1024x1024.py"),
        ("evaluation.window.crop", (1024, 1024), f"{OF_MIC} test_cfg"),
        ("evaluation.window.stride", (512, 512), f"{OF_MIC} test_cfg"),
    )


# {(recipe, argument): ((key, value, where it stands), ...)}
PUBLISHED = {
    ("dacs", GTA5): (
        *of_all("dacs"),
        *strengths("dacs", 0.25, "utils/transformsgpu.py s"),
        ("dacs.steps", 250_000, "configs/configUDA.json num_iterations"),
        ("dacs.evaluate_every", 5000, "configs/configUDA.json val_per_iter"),
        ("dacs.teacher.momentum", 0.99, "trainUDA.py alpha_teacher"),
        ("dacs.teacher.begins_with", "first_update", "trainUDA.py, after optimizer.step()"),
        ("dacs.mix.classes_of", "image", "trainUDA.py torch.unique(labels[image_i])"),
        ("dacs.source_mean", "valid", "utils/loss.py CrossEntropy2d"),
        ("dacs.masked.weight", 0.0, "none"),
        ("dacs.feature_distance.weight", 0.0, "none"),
        ("dacs.rare_classes.temperature", 0.0, "none"),
        ("dacs.optimizer.lr", 2.5e-4, "configs/configUDA.json learning_rate"),
        ("dacs.optimizer.momentum", 0.9, "configs/configUDA.json"),
        ("dacs.optimizer.weight_decay", 5e-4, "configs/configUDA.json"),
        ("dacs.optimizer.power", 0.9, "configs/configUDA.json lr_schedule_power"),
        ("dacs.optimizer.horizon_steps", 0, "trainUDA.py lr_poly, over num_iterations"),
        ("dacs.optimizer.lr_multipliers", (("/layer[56]/", 10.0),), "trainUDA.py lr * 10"),
        (
            "dacs.optimizer.repeats",
            (("/downsample_conv/", 4), ("/backbone/layer", 3)),
            "model/deeplabv2.py get_1x_lr_params_NOscale",
        ),
        ("model.backbone", "resnet101", "model/deeplabv2.py"),
        ("model.aspp_branches", 2, "model/deeplabv2.py returns within the loop"),
        ("model.train_norm_affine", False, "model/deeplabv2.py requires_grad"),
        ("data.transforms.source.size", (512, 512), "configs/configUDA.json input_size"),
        ("data.transforms.target.size", (512, 512), "configs/configUDA.json input_size"),
        ("data.transforms.source.flip", False, "data/gta5_dataset.py never mirrors"),
        ("data.transforms.target.flip", False, "configs/configUDA.json flip"),
        ("data.transforms.source.resize", "bicubic", "data/gta5_dataset.py"),
        ("data.transforms.target.resize", "bilinear", "data/cityscapes_loader.py imresize"),
    ),
    ("daformer", GTA5): (
        *of_transformers("daformer", OF_DAFORMER),
        ("daformer.ignore_top", 15, f"{OF_DAFORMER} pseudo_weight_ignore_top"),
        ("daformer.ignore_bottom", 120, f"{OF_DAFORMER} pseudo_weight_ignore_bottom"),
        ("daformer.margins", (), f"{OF_DAFORMER}, rows instead"),
        ("daformer.rare_classes.min_crop_ratio", 0.5, f"{OF_DAFORMER} min_crop_ratio"),
        ("daformer.masked.weight", 0.0, "none"),
        ("model.hrda.detail_hw", (), "none"),
        ("data.transforms.source.size", (512, 512), "uda_gta_to_cityscapes_512x512.py"),
        ("data.transforms.source.fit", (720, 1280), "uda_gta_to_cityscapes_512x512.py"),
        ("data.transforms.target.fit", (512, 1024), "uda_gta_to_cityscapes_512x512.py"),
    ),
    ("daformer", SYNTHIA): (
        ("data.transforms.source.fit", (760, 1280), "uda_synthia_to_cityscapes_512x512.py"),
    ),
    ("hrda", GTA5): (*of_hrda("hrda"), ("hrda.masked.weight", 0.0, "none")),
    ("mic", GTA5): (
        *of_hrda("mic"),
        ("mic.masked.weight", 1.0, f"{OF_MIC} mask_lambda"),
        ("mic.masked.ratio", 0.7, f"{OF_MIC} mask_ratio"),
        ("mic.masked.block", 64, f"{OF_MIC} mask_block_size"),
        ("mic.masked.images", "target", f"{OF_MIC} separatetrgaug"),
        ("mic.masked.strong_view", True, f"{OF_MIC} separatetrgaug"),
    ),
    ("mic", f"{GTA5},host=daformer"): (
        *of_transformers("mic", OF_DAFORMER),
        ("mic.masked.weight", 1.0, "mask_lambda"),
        ("mic.masked.block", 32, "experiments.py: half the size at half the resolution"),
        ("mic.ignore_bottom", 120, f"{OF_DAFORMER} pseudo_weight_ignore_bottom"),
        ("model.hrda.detail_hw", (), "none"),
    ),
    ("vfm", GTA5): (
        *strengths("vfm", 0.2, f"{OF_VFM} color_jitter_strength"),
        ("vfm.threshold", 0.968, f"{OF_VFM} pseudo_threshold"),
        ("vfm.steps", 40_000, "uda_vit_vanilla.yaml max_steps"),
        ("vfm.evaluate_every", 1000, "uda_vit_vanilla.yaml val_check_interval"),
        ("vfm.batch_size", 8, "uda_vit_vanilla.yaml"),
        ("vfm.teacher.momentum", 0.999, f"{OF_VFM} ema_alpha"),
        ("vfm.teacher.begins_with", "initial", f"{OF_VFM} global_step, after the step: 1"),
        ("vfm.mirrored_labels", True, f"{OF_VFM} get_pseudo_label_and_weight"),
        ("vfm.mix.weight", 1.0, f"{OF_VFM} the sum of the losses"),
        ("vfm.mix.classes_of", "batch", "training/utils/dacs_utils.py get_class_masks"),
        ("vfm.source_mean", "valid", f"{OF_VFM} F.cross_entropy"),
        ("vfm.masked.weight", 1.0, f"{OF_VFM} the sum of the losses"),
        ("vfm.masked.ratio", 0.7, "uda_vit_vanilla.yaml token_mask_ratio"),
        ("vfm.masked.block", 0, "models/token_masking.py: tokens"),
        ("vfm.masked.strong_view", True, f"{OF_VFM} targetds_color_aug_image"),
        ("vfm.feature_distance.weight", 0.0, "none"),
        ("vfm.color_jitter.kind", "torchvision", f"{OF_VFM} TV.ColorJitter"),
        ("vfm.color_jitter.probability", 0.8, f"{OF_VFM} color_jitter_probability"),
        ("vfm.blur.probability", 0.5, f"{OF_VFM} random_aug_uda"),
        ("vfm.blur.sigma", (0.15, 1.15), f"{OF_VFM} random_aug_uda"),
        ("vfm.strong_for", "image", f"{OF_VFM} torch.stack([random_aug_uda(x_) for x_ in x])"),
        ("vfm.weak_view.brightness", 32 / 255, f"{OF_VFM} brightness_delta"),
        ("vfm.weak_view.contrast", 0.5, f"{OF_VFM} contrast_delta"),
        ("vfm.weak_view.saturation", 0.5, f"{OF_VFM} saturation_delta"),
        ("vfm.weak_view.hue", 18 / 360, f"{OF_VFM} hue_delta"),
        ("vfm.weak_view.probability", 0.9, f"{OF_VFM} random_aug_weak"),
        ("vfm.rare_classes.temperature", 0.05, "rare_class_sampler_dataset.py rcs_class_temp"),
        ("vfm.rare_classes.min_pixels", 3000, "rare_class_sampler_dataset.py rcs_min_pixels"),
        ("vfm.rare_classes.min_crop_ratio", 2.0, "1024 * 1024 / (512 * 1024)"),
        ("vfm.margins", (0.03, 0.25, 0.03, 0.03), "uda_transform.py pseudo_weight_ignore_top"),
        ("vfm.optimizer.kind", "adamw", f"{OF_VFM} configure_optimizers"),
        ("vfm.optimizer.lr", 5e-5 * 8**0.5, f"{OF_VFM} lr * sqrt(images)"),
        ("vfm.optimizer.betas", (0.9, 0.999), "torch's"),
        ("vfm.optimizer.lr_multipliers", (("/backbone/", 0.1),), "uda_vit_vanilla.yaml"),
        ("vfm.optimizer.layer_decay", 1.0, f"{OF_VFM} layerwise_lr_decay"),
        ("vfm.optimizer.weight_decay", 0.01, f"{OF_VFM} weight_decay"),
        ("vfm.optimizer.decay_multipliers", (), f"{OF_VFM} one decay for all groups"),
        ("vfm.optimizer.schedule", "poly_after_warmup", "warmup_and_linear_scheduler.py"),
        ("vfm.optimizer.power", 1.0, "warmup_and_linear_scheduler.py"),
        ("vfm.optimizer.warmup_steps", 1500, f"{OF_VFM} warmup_iters"),
        ("vfm.optimizer.warmup_ratio", 1e-3, f"{OF_VFM} start_warmup_lr"),
        ("model.backbone", "dinov2_vitb14", "uda_vit_vanilla.yaml"),
        ("evaluation.align_corners", False, "vit_lightweight_head.py"),
        ("evaluation.window.crop", (1024, 1024), "uda_vit_vanilla.yaml img_size"),
        ("evaluation.window.stride", (512, 512), "datasets: half a window"),
        ("evaluation.window.average", "softmax", "training/utils/inference_collection.py"),
        ("data.transforms.source.size", (1024, 1024), "uda_vit_vanilla.yaml img_size"),
        ("data.transforms.source.shorter_edge", (1296, 1584), "1440, min_scale .9, max_scale 1.1"),
        ("data.transforms.target.shorter_edge", (922, 1126), "1024, min_scale .9, max_scale 1.1"),
        ("data.transforms.source.pad", True, "uda_transform.py FV.pad"),
        ("data.transforms.target.pad", True, "uda_transform.py FV.pad"),
        ("data.transforms.source.max_class_share", 0.75, "uda_transform.py cat_max_ratio"),
        ("data.transforms.source.resize", "bilinear", "FV.resize of a PIL image"),
        ("data.transforms.target.flip", True, "batched_rand_hflip.py"),
        ("data.transforms.evaluation.size", (1024, 2048), "Cityscapes' own"),
    ),
}


@pytest.mark.parametrize(
    "recipe, argument", PUBLISHED, ids=[":".join(variant) for variant in PUBLISHED]
)
def test_a_recipe_has_the_numbers_of_its_authors(recipe, argument):
    found = recipes.get_config(recipe, f"{argument},weights=none")
    assert not recipes.differing(found, PUBLISHED[recipe, argument])


def test_a_vision_transformer_has_rows_without_adabn():
    """It has no batch normalisation; and a row that changes nothing is none."""
    config = recipes.get_config("vfm", "ablations")
    assert "adabn" not in config.stages and config.control.mix.weight == 0
    rows = set(config.stages) - {"source_only", "control", "vfm", "oracle"}
    assert {"no_masks", "no_mirror", "no_weak_view", "no_teacher"} <= rows
    assert "statistics_of_passes" not in rows
    assert all(recipes.values(config[row]) != recipes.values(config.vfm) for row in rows)


@pytest.mark.parametrize("recipe", ["dacs", "daformer", "hrda", "mic"])
def test_the_rows_of_the_scenes_are_floor_control_method_and_oracle(recipe):
    config = recipes.get_config(recipe)
    assert config.stages == ("source_only", "adabn", "control", recipe, "oracle")
    control, method = config.control, config[recipe]
    assert control.steps == method.steps and control.batch_size == method.batch_size
    assert control.mix.weight == control.masked.weight == control.teacher.momentum == 0
    assert method.mix.weight == 1 and bool(method.masked.weight) == (recipe == "mic")
    # the same rule of statistics in both
    assert control.statistics == method.statistics == "target"


@pytest.mark.parametrize("recipe", ["dacs", "daformer", "hrda", "mic"])
def test_an_ablation_differs_from_the_method_in_what_its_name_says(recipe):
    config = recipes.get_config(recipe, "ablations")
    rows = set(config.stages) - {"source_only", "adabn", "control", recipe, "oracle"}
    assert {"no_teacher", "no_mixing", "no_jitter"} <= rows
    for row in rows:
        own, full = recipes.values(config[row]), recipes.values(config[recipe])
        changed = {key for key in full if own[key] != full[key]}
        assert own.keys() == full.keys()
        assert 1 <= len(changed) <= 3, (row, changed)

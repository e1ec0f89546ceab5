"""What the segmentation recipes say, number by number, beside where the authors' code or paper says
it.

Every value is read from `get_config(variant)` as a run would have it. Files are those of the
authors' repositories at CLAN c40ab0b, AdaptSegNet fca9ff0, PLCA e01d77a, SPCL 9e5bab7 and DASS
(BiCL) f544686. Lines, of files that only list constants, are those of the last change of the file
that we could read: CLAN 85ee091, AdaptSegNet 351fef3, PLCA e2097f4 and SPCL 8460fa5. Without a
line: what the name says is in that file.
"""

import itertools

import pytest
import recipes

GTA5, SYNTHIA, SYNSCAPES = "gta5_to_cityscapes", "synthia_to_cityscapes", "synscapes_to_cityscapes"
# shortcuts x4, a block's convolutions x3
REPEATED = (("/downsample_conv/", 4), ("/backbone/layer", 3))
HEADS_TIMES_TEN = (("/layer[56]/", 10.0),)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_BGR = (104.00698793, 116.66876762, 122.67891434)

# {(recipe, argument): ((key, value, where it stands), ...)}
PUBLISHED = {
    ("clan", GTA5): (
        ("clan.steps", 100_000, "CLAN_train.py:46, NUM_STEPS"),
        ("clan.warmup_steps", 5000, "CLAN_train.py:48, PREHEAT_STEPS"),
        ("clan.optimizer.warmup_steps", 5000, "CLAN_train.py lr_warmup"),
        ("clan.discriminator_optimizer.warmup_steps", 5000, "CLAN_train.py lr_warmup, D"),
        ("clan.batch_size", 1, "CLAN_train.py:26, BATCH_SIZE"),
        ("clan.loss.kind", "focal", "CLAN utils/loss.py"),
        ("clan.loss.gamma", 2.0, "CLAN utils/loss.py"),
        ("clan.loss.on", "heads", "CLAN_train.py loss_seg of each head"),
        ("clan.adversarial.weight", 0.001, "CLAN_train.py:61, Lambda_adv"),
        ("clan.adversarial.local_weight", 40.0, "CLAN_train.py:62, Lambda_local of GTA5"),
        ("clan.adversarial.epsilon", 0.4, "CLAN_train.py:63, Epsilon"),
        ("clan.adversarial.width", 64, "CLAN model/CLAN_D.py ndf"),
        ("clan.weight_loss", 0.02, "CLAN_train.py:60, Lambda_weight 0.01 times 2"),
        ("clan.weight_loss_with_biases", True, "CLAN_train.py W5, W6 of all parameters"),
        ("clan.damped", True, "CLAN_train.py damping"),
        ("clan.differentiate_map", True, "CLAN_train.py, no detach in G's step"),
        ("clan.optimizer.lr", 2.5e-4, "CLAN_train.py:44, LEARNING_RATE"),
        ("clan.optimizer.momentum", 0.9, "CLAN_train.py:32, MOMENTUM"),
        ("clan.optimizer.weight_decay", 5e-4, "CLAN_train.py:43, WEIGHT_DECAY"),
        ("clan.optimizer.power", 0.9, "CLAN_train.py:49, POWER"),
        (
            "clan.optimizer.lr_multipliers",
            HEADS_TIMES_TEN,
            "CLAN model/CLAN_G.py get_10x_lr_params",
        ),
        ("clan.optimizer.repeats", REPEATED, "CLAN model/CLAN_G.py get_1x_lr_params_NOscale"),
        ("clan.discriminator_optimizer.lr", 1e-4, "CLAN_train.py:45, LEARNING_RATE_D"),
        ("clan.discriminator_optimizer.betas", (0.9, 0.99), "CLAN_train.py optimizer_D"),
        ("clan.discriminator_optimizer.weight_decay", 0.0, "CLAN_train.py optimizer_D"),
        ("clan.target_hw", (512, 1024), "CLAN_train.py:73, INPUT_SIZE_TARGET"),
        ("data.transforms.source.size", (720, 1280), "CLAN_train.py:57, INPUT_SIZE_SOURCE of GTA5"),
        (
            "data.transforms.source.image_scales",
            ((0.3, 0.8), (0.7, 1.0), (1.0, 1.1)),
            "CLAN dataset/gta5_dataset.py",
        ),
        ("data.transforms.target.flip", True, "CLAN dataset/cityscapes_dataset.py"),
        ("clan.adversarial.kind", "vanilla", "CLAN_train.py bce_loss"),
        ("clan.optimizer.schedule", "poly", "CLAN_train.py lr_poly"),
        ("clan.horizon_steps", 0, "CLAN_train.py damping, over NUM_STEPS as the rate"),
        ("clan.optimizer.nesterov", False, "CLAN_train.py optim.SGD"),
        ("data.transforms.evaluation.size", (512, 1024), "CLAN_evaluate.py"),
        ("evaluation.align_corners", True, "CLAN_evaluate.py interp"),
        ("data.transforms.source.mean", CAFFE_BGR, "CLAN_train.py:23, IMG_MEAN"),
        ("model.heads", "twin", "CLAN model/CLAN_G.py layer5, layer6 on layer4"),
        ("model.aspp_branches", 4, "CLAN model/CLAN_G.py Classifier_Module"),
        ("model.train_norm_affine", False, "CLAN model/CLAN_G.py requires_grad"),
    ),
    ("clan", SYNTHIA): (
        ("clan.adversarial.local_weight", 10.0, "CLAN_train.py:70, Lambda_local of SYNTHIA"),
        ("clan.adversarial.weight", 0.001, "CLAN_train.py:69, Lambda_adv of SYNTHIA"),
        ("clan.adversarial.epsilon", 0.4, "CLAN_train.py:71, Epsilon of SYNTHIA"),
        ("clan.weight_loss", 0.02, "CLAN_train.py:68, Lambda_weight 0.01 times 2"),
        (
            "data.transforms.source.size",
            (760, 1280),
            "CLAN_train.py:65, INPUT_SIZE_SOURCE of SYNTHIA",
        ),
        ("data.source.space", "synthia_clan", "CLAN dataset/synthia_dataset.py, 19 classes"),
    ),
    ("clan", f"{SYNTHIA},settings=paper"): (
        ("clan.loss.kind", "cross_entropy", "paper eq. 3"),
        ("clan.loss.on", "ensemble", "paper eq. 3, on p = p1 + p2"),
        ("clan.weight_loss", 0.01, "paper, lambda_weight"),
        ("clan.weight_loss_with_biases", False, "paper eq. 4, filters"),
        ("clan.damped", False, "paper, constant weights"),
        ("clan.warmup_steps", 0, "paper, weights from the start"),
        ("clan.optimizer.warmup_steps", 0, "paper, poly alone"),
        ("clan.optimizer.repeats", (), "paper, 2.5e-4 once a step"),
        ("clan.adversarial.local_weight", 40.0, "paper, lambda_local"),
        ("clan.discriminator_optimizer.lr", 5e-5, "paper, fixed"),
        ("clan.discriminator_optimizer.schedule", "constant", "paper, fixed"),
        ("clan.discriminator_optimizer.weight_decay", 5e-4, "paper"),
        ("data.transforms.source.image_scales", (), "paper, none"),
        ("data.transforms.target.image_scales", (), "paper, none"),
    ),
    ("adaptsegnet", GTA5): (
        ("adaptsegnet.steps", 150_000, "train_gta2cityscapes_multi.py:41, NUM_STEPS_STOP"),
        (
            "adaptsegnet.optimizer.horizon_steps",
            250_000,
            "train_gta2cityscapes_multi.py:40, NUM_STEPS",
        ),
        (
            "adaptsegnet.discriminator_optimizer.horizon_steps",
            250_000,
            "train_gta2cityscapes_multi.py:40, NUM_STEPS",
        ),
        ("adaptsegnet.optimizer.warmup_steps", 0, "train_gta2cityscapes_multi.py, none"),
        ("adaptsegnet.optimizer.lr", 2.5e-4, "train_gta2cityscapes_multi.py:37, LEARNING_RATE"),
        (
            "adaptsegnet.optimizer.lr_multipliers",
            HEADS_TIMES_TEN,
            "AdaptSegNet model/deeplab_multi.py get_10x_lr_params",
        ),
        (
            "adaptsegnet.optimizer.repeats",
            REPEATED,
            "AdaptSegNet model/deeplab_multi.py get_1x_lr_params_NOscale",
        ),
        (
            "adaptsegnet.discriminator_optimizer.lr",
            1e-4,
            "train_gta2cityscapes_multi.py:50, LEARNING_RATE_D",
        ),
        (
            "adaptsegnet.discriminator_optimizer.betas",
            (0.9, 0.99),
            "train_gta2cityscapes_multi.py optimizer_D1",
        ),
        ("adaptsegnet.batch_size", 1, "train_gta2cityscapes_multi.py:27, BATCH_SIZE"),
        (
            "adaptsegnet.adversarial.weight",
            0.001,
            "train_gta2cityscapes_multi.py:53, LAMBDA_ADV_TARGET2",
        ),
        ("adaptsegnet.class_balanced", False, "dataset/gta5_dataset.py, uniform"),
        ("adaptsegnet.optimizer.momentum", 0.9, "train_gta2cityscapes_multi.py:38, MOMENTUM"),
        (
            "adaptsegnet.optimizer.weight_decay",
            5e-4,
            "train_gta2cityscapes_multi.py:48, WEIGHT_DECAY",
        ),
        ("adaptsegnet.optimizer.power", 0.9, "train_gta2cityscapes_multi.py:42, POWER"),
        (
            "adaptsegnet.target_hw",
            (512, 1024),
            "train_gta2cityscapes_multi.py:36, INPUT_SIZE_TARGET",
        ),
        ("adaptsegnet.adversarial.kind", "vanilla", "train_gta2cityscapes_multi.py:54, GAN"),
        ("adaptsegnet.source_temperature", 1.0, "train_gta2cityscapes_multi.py loss_calc"),
        (
            "data.transforms.source.size",
            (720, 1280),
            "train_gta2cityscapes_multi.py:33, INPUT_SIZE",
        ),
        ("data.transforms.source.mean", CAFFE_BGR, "train_gta2cityscapes_multi.py:24, IMG_MEAN"),
        ("data.transforms.source.flip", False, "dataset/gta5_dataset.py ignores mirror"),
        ("model.aspp_branches", 2, "AdaptSegNet model/deeplab_multi.py, return within the loop"),
    ),
    ("adaptsegnet", f"{GTA5},levels=multi"): (
        ("adaptsegnet.loss.aux_weight", 0.1, "train_gta2cityscapes_multi.py:51, LAMBDA_SEG"),
        (
            "adaptsegnet.adversarial.aux_weight",
            0.0002,
            "train_gta2cityscapes_multi.py:52, LAMBDA_ADV_TARGET1",
        ),
        (
            "adaptsegnet.adversarial.weight",
            0.001,
            "train_gta2cityscapes_multi.py:53, LAMBDA_ADV_TARGET2",
        ),
        ("model.heads", "multi", "AdaptSegNet model/deeplab_multi.py"),
    ),
    ("adaptsegnet", f"{GTA5},gan=least_squares"): (
        ("adaptsegnet.adversarial.weight", 0.01, "README lambda-adv-target2 with --gan LS"),
        ("adaptsegnet.adversarial.kind", "least_squares", "README --gan LS"),
    ),
    ("adaptsegnet", f"{SYNTHIA},backbone=vgg16"): (
        ("adaptsegnet.optimizer.repeats", (), "AdaptSegNet model/deeplab_vgg.py optim_parameters"),
        (
            "adaptsegnet.optimizer.lr_multipliers",
            (),
            "AdaptSegNet model/deeplab_vgg.py optim_parameters",
        ),
    ),
    ("adaptsegnet", f"{GTA5},settings=paper"): (
        ("adaptsegnet.optimizer.repeats", (), "paper, every parameter once"),
        ("model.aspp_branches", 4, "paper, ASPP"),
    ),
    ("source_only_seg", GTA5): (
        ("source_only.steps", 150_000, "train_gta2cityscapes_multi.py:41, NUM_STEPS_STOP"),
        (
            "source_only.optimizer.horizon_steps",
            250_000,
            "train_gta2cityscapes_multi.py:40, NUM_STEPS",
        ),
        (
            "source_only.optimizer.repeats",
            REPEATED,
            "AdaptSegNet model/deeplab.py get_1x_lr_params_NOscale",
        ),
    ),
    ("source_only_seg", f"{GTA5},settings=paper"): (
        ("source_only.optimizer.repeats", (), "paper, every parameter once"),
    ),
    ("source_only_seg", f"{GTA5},backbone=vgg16"): (
        ("source_only.optimizer.repeats", (), "AdaptSegNet model/deeplab_vgg.py"),
    ),
    ("source_only_seg", f"{GTA5},like=plca"): (
        ("source_only.steps", 10_416, "g2c_train.yaml:38, MAX_EPOCHS 28, of 372 steps"),
        ("source_only.batch_size", 4, "g2c_train.yaml:30, TRAIN_BATCH_SIZE"),
        ("source_only.accumulate", 2, "g2c_train.yaml:31, ITER_SIZE"),
        ("source_only.lovasz_weight", 3.0, "as plca's"),
        ("cross_entropy.lovasz_weight", 0.0, "paper, table 1"),
        ("source_only.half_pixel", True, "F.interpolate of its solver"),
        ("model.head_bias", False, "PLCA's classifier"),
        ("data.transforms.source.size", (730, 730), "g2c_train.yaml, CROPSIZE"),
    ),
    ("source_only_seg", f"{GTA5},like=clan"): (
        ("source_only.steps", 100_000, "CLAN_train.py:46, NUM_STEPS"),
        ("source_only.loss.kind", "focal", "CLAN utils/loss.py"),
        ("source_only.loss.aux_weight", 1.0, "CLAN_train.py loss_seg of each head"),
        ("source_only.optimizer.warmup_steps", 5000, "CLAN_train.py lr_warmup"),
        ("model.heads", "twin", "CLAN model/CLAN_G.py"),
    ),
    ("source_only_seg", f"{GTA5},like=spcl"): (
        ("source_only.steps", 40_000, "configs/deeplabv2_r101_adv.yaml, STOP_ITER"),
        ("source_only.adversarial.weight", 0.0, "no adversary"),
        ("source_only.source_temperature", 1.8, "warmup.py temperature"),
        ("model.norm", "frozen_no_eps", "core/models/layers.py FrozenBatchNorm2d"),
    ),
    ("source_only_seg", f"{SYNTHIA},like=bicl"): (
        ("source_only.steps", 4_700, "so_config.yml, one pass of SYNTHIA in batches of two"),
        ("source_only.transform", "source_only", "so_config.yml"),
    ),
    ("clan", f"{GTA5},backbone=vgg16_fcn8s"): (
        ("model.backbone", "vgg16_fcn8s", "paper, FCN8s"),
        ("model.heads", "twin", "paper, two classifiers"),
        ("clan.optimizer.repeats", (), "AdaptSegNet model/deeplab_vgg.py optim_parameters"),
        ("clan.optimizer.lr_multipliers", (), "AdaptSegNet model/deeplab_vgg.py optim_parameters"),
    ),
    ("spcl", f"{GTA5},backbone=vgg16"): (
        ("data.transforms.source.channels", "bgr", "SDCA's VGG configs, TO_BGR255"),
        ("data.transforms.source.divisor", 1.0, "SDCA's VGG configs, TO_BGR255"),
        ("data.transforms.evaluation.mean", (103.939, 116.779, 123.68), "SDCA, PIXEL_MEAN"),
        ("data.transforms.self_training.std", (1.0, 1.0, 1.0), "SDCA, PIXEL_STD"),
        ("warm_up.optimizer.lr_multipliers", HEADS_TIMES_TEN, "as on the ResNet"),
        ("self_training.norm", "", "a VGG normalises nothing"),
    ),
    ("plca", "ablations_gta5"): (
        ("feature_level.association.prediction_level", False, "paper, table 1"),
        ("feature_level.label_smoothing.weight", 0.0, "paper, table 1"),
        ("both_levels.label_smoothing.weight", 0.0, "paper, table 1"),
        ("no_aggregation.association.aggregation_alpha", 0.0, "paper, table 1"),
        ("similarity.association.kind", "similarity", "paper, table 1"),
        ("source_only.lovasz_weight", 3.0, "paper, table 1"),
        ("plca.steps", 10_416, "as without ablations"),
    ),
    ("spcl", "ablations_synthia"): (
        ("contrast_source.contrast_target", False, "paper, table 4"),
        ("ssl_only.init_from", "warm_up", "paper, table 4"),
        ("ssl_only.labels_from", "ssl_labels", "paper, table 4"),
        ("ssl_labels.init_from", "warm_up", "paper, table 4"),
    ),
    ("spcl", f"{GTA5},vary=decay"): (
        ("decay_0.prototype_decay", 0.0, "paper, table 5"),
        ("decay_1.prototype_decay", 1.0, "paper, table 5"),
        ("decay_0_5_trained.labels_from", "decay_0_5_labels", "paper, table 5"),
        ("decay_0_5_labels.init_from", "decay_0_5", "paper, table 5"),
    ),
    ("spcl", f"{GTA5},vary=weight"): (
        ("weight_0_01.contrast_weight", 0.01, "paper, table 6"),
        ("weight_10.contrast_weight", 10.0, "paper, table 6"),
        ("weight_10_trained.init_from", "weight_10", "paper, table 6"),
    ),
    ("bicl", "ablations_gta5"): (
        ("base_9.contrast_weight", 0.0, "slides, L_base"),
        ("forward_9.backward", False, "slides, + FC"),
        ("forward_backward_9.dynamic.on", False, "slides, + BC"),
        ("uncalibrated_9.dynamic.calibrate", False, "slides, y_D without calibration"),
        ("uncalibrated_9.labels_from", "uncalibrated_labels_9", "each row labels for itself"),
        ("uncalibrated_0.labels_from", "labels_0", "of the same source-only network"),
        ("bicl_9.dynamic.calibrate", True, "slides"),
    ),
    ("plca", GTA5): (
        ("plca.steps", 10_416, "g2c_train.yaml:38, MAX_EPOCHS 28, of 372 steps"),
        (
            "plca.optimizer.horizon_steps",
            11_160,
            "g2c_train.yaml:49, POLY.MAX_EPOCHS 30, of 372 steps",
        ),
        ("plca.batch_size", 4, "g2c_train.yaml:30, TRAIN_BATCH_SIZE"),
        ("plca.accumulate", 2, "g2c_train.yaml:31, ITER_SIZE"),
        (
            "plca.lovasz_weight",
            3.0,
            (
                "PLCA config/config.py:53, LOV_W 0.75, times 2 GPUs, times ITER_SIZE 2 "
                "(solver/solver.py)"
            ),
        ),
        ("plca.association.weight", 0.1, "PLCA config/config.py:54, ASSO_W"),
        ("plca.association.feature_level", True, "g2c_train.yaml:26, METHOD association"),
        (
            "plca.association.prediction_level",
            True,
            "g2c_train.yaml:28, APPLY_MULTILAYER_ASSOCIATION",
        ),
        ("plca.association.kind", "contrast", "solver/loss.py, scores through a softmax"),
        ("plca.association.contrast_normalisation", True, "solver/loss.py, scores of each row"),
        ("plca.association.aggregation_alpha", 0.5, "PLCA config/config.py:57, SPAGG_ALPHA"),
        ("plca.label_smoothing.weight", 0.01, "PLCA config/config.py:55, LSR_W"),
        ("plca.label_smoothing.threshold", 10.0, "PLCA config/config.py:62, LSR_THRES"),
        ("plca.optimizer.lr", 2.5e-4, "g2c_train.yaml:34, BASE_LR"),
        ("plca.optimizer.power", 0.9, "g2c_train.yaml:48, POLY.POWER"),
        ("plca.optimizer.momentum", 0.9, "PLCA config/config.py:74, MOMENTUM"),
        ("plca.optimizer.weight_decay", 5e-4, "g2c_train.yaml:36, WEIGHT_DECAY"),
        ("plca.optimizer.lr_multipliers", (), "g2c_train.yaml:35, LR_MULT 1.0"),
        ("plca.optimizer.repeats", (), "solver/utils.py set_param_groups, every parameter once"),
        ("evaluation.aggregation_alpha", 0.5, "tools/test.py"),
        (
            "data.transforms.source.shorter_edge",
            (760, 988),
            "tools/train.py get_transform, LOADSIZE 760 to 1.3 x 760",
        ),
        ("data.transforms.source.size", (730, 730), "g2c_train.yaml:17, CROPSIZE"),
        ("data.transforms.evaluation.size", (730, 1460), "g2c_train.yaml:19, INPUT_SIZE_T"),
        ("model.head_bias", False, "model/segmentation/deeplabv2.py"),
        (
            "model.head_init",
            "torch",
            "model/segmentation/deeplabv2.py, no initialisation of its own",
        ),
        ("evaluation.align_corners", False, "tools/test.py"),
        ("data.transforms.source.resize", "bilinear", "data/transforms.py RandomResize"),
        ("data.transforms.target.flip", True, "data/transforms.py RandomHorizontalFlip"),
        ("model.train_norm_affine", True, "PLCA config/config.py:65, FREEZE_BN False"),
    ),
    ("plca", SYNTHIA): (
        ("plca.steps", 2_976, "s2c_train.yaml:37, MAX_EPOCHS 8"),
        ("plca.optimizer.horizon_steps", 3_720, "s2c_train.yaml:48, POLY.MAX_EPOCHS 10"),
        ("plca.lovasz_weight", 3.0, "PLCA config/config.py:53, LOV_W 0.75, times 2, times 2"),
        ("data.source.space", "synthia", "s2c_train.yaml:2, NUM_CLASSES 16"),
        ("data.evaluation.space", "cityscapes_16", "s2c_train.yaml:2, NUM_CLASSES 16"),
    ),
    ("plca", f"{GTA5},settings=paper"): (("plca.lovasz_weight", 0.75, "paper, beta 1"),),
    ("spcl", GTA5): (
        ("warm_up.steps", 40_000, "configs/deeplabv2_r101_adv.yaml:18, STOP_ITER"),
        ("warm_up.optimizer.horizon_steps", 62_500, "configs/deeplabv2_r101_adv.yaml:17, MAX_ITER"),
        (
            "warm_up.discriminator_optimizer.horizon_steps",
            62_500,
            "configs/deeplabv2_r101_adv.yaml:17, MAX_ITER",
        ),
        ("warm_up.source_temperature", 1.8, "warmup.py temperature"),
        ("warm_up.adversarial.weight", 0.001, "core/configs/defaults.py:60, LAMBDA_ADV_TARGET"),
        ("warm_up.class_balanced", True, "core/datasets/gta5.py"),
        (
            "warm_up.batch_size",
            4,
            "configs/deeplabv2_r101_adv.yaml:19, BATCH_SIZE 8, half of it source",
        ),
        ("warm_up.optimizer.lr", 2.5e-4, "configs/deeplabv2_r101_adv.yaml:15, BASE_LR"),
        ("warm_up.optimizer.weight_decay", 5e-4, "core/configs/defaults.py:56, WEIGHT_DECAY"),
        ("warm_up.optimizer.lr_multipliers", HEADS_TIMES_TEN, "warmup.py optimizer_cls"),
        (
            "warm_up.discriminator_optimizer.lr",
            1e-4,
            "configs/deeplabv2_r101_adv.yaml:16, BASE_LR_D",
        ),
        ("warm_up.discriminator_optimizer.betas", (0.9, 0.99), "warmup.py optimizer_D"),
        ("warm_up.target_hw", (512, 1024), "core/configs/defaults.py:16, TARGET_INPUT_SIZE_TRAIN"),
        ("warm_up.optimizer.repeats", (), "warmup.py feature_extractor.parameters()"),
        ("spcl.steps", 40_000, "configs/deeplabv2_r101_cl.yaml:18, STOP_ITER"),
        ("spcl.optimizer.lr", 2.5e-4, "configs/deeplabv2_r101_cl.yaml:15, BASE_LR"),
        ("spcl.optimizer.horizon_steps", 62_500, "configs/deeplabv2_r101_cl.yaml:17, MAX_ITER"),
        (
            "spcl.batch_size",
            4,
            "configs/deeplabv2_r101_cl.yaml:19, BATCH_SIZE 8, half of it source",
        ),
        ("spcl.contrast_source", True, "train_ours.py cl_criterion"),
        ("spcl.contrast_target", True, "train_ours.py cl_criterion"),
        ("spcl.optimizer.weight_decay", 5e-4, "core/configs/defaults.py:56, WEIGHT_DECAY"),
        ("spcl.optimizer.lr_multipliers", HEADS_TIMES_TEN, "train_ours.py optimizer_cls"),
        ("spcl.contrast_weight", 1.0, "core/configs/defaults.py:69, CL_LOSS"),
        ("spcl.temperature", 100.0, "core/utils/loss.py; SPCL issue 3"),
        (
            "spcl.prototype_decay",
            0.1,
            "core/configs/defaults.py:70, ALPHA, of the old value; paper, table 5",
        ),
        ("spcl.class_balanced", True, "core/datasets/gta5.py"),
        ("spcl.source_mask", "correct", "train_ours.py"),
        ("spcl.target_mask", "files", "train_ours.py"),
        ("spcl.logit_temperature", 1.8, "train_ours.py"),
        ("spcl_labels.proportion", 0.5, "pseudo_label.py get_threshold"),
        ("spcl_labels.cap", 0.9, "pseudo_label.py get_threshold"),
        ("warm_up_labels.cap", 0.9, "pseudo_label.py get_threshold"),
        ("self_training.steps", 20_000, "configs/deeplabv2_r101_tgt_ssl.yaml:20, STOP_ITER"),
        (
            "self_training.optimizer.horizon_steps",
            31_250,
            "configs/deeplabv2_r101_tgt_ssl.yaml:19, MAX_ITER",
        ),
        ("self_training.optimizer.lr", 5e-4, "configs/deeplabv2_r101_tgt_ssl.yaml:18, BASE_LR"),
        ("self_training.optimizer.lr_multipliers", HEADS_TIMES_TEN, "train_ssl.py optimizer_cls"),
        ("self_training.optimizer.weight_decay", 5e-4, "core/configs/defaults.py:56, WEIGHT_DECAY"),
        ("self_training.batch_size", 8, "configs/deeplabv2_r101_tgt_ssl.yaml:21, BATCH_SIZE"),
        ("self_training.norm", "train", "configs/deeplabv2_r101_tgt_ssl.yaml:4, FREEZE_BN False"),
        ("self_training.norm_affine", "trained", "train_ssl.py feature_extractor.parameters()"),
        ("model.norm", "frozen_no_eps", "core/models/layers.py FrozenBatchNorm2d"),
        ("model.topology", "torchvision", "core/models/resnet.py"),
        (
            "data.transforms.source.size",
            (720, 1280),
            "core/configs/defaults.py:15, SOURCE_INPUT_SIZE_TRAIN",
        ),
        (
            "data.transforms.source.flip",
            False,
            "core/configs/defaults.py:32, HORIZONTAL_FLIP_PROB_TRAIN",
        ),
        (
            "data.transforms.source.color_jitter.brightness",
            0.5,
            "configs/deeplabv2_r101_adv.yaml:10, BRIGHTNESS; the same in cl",
        ),
        (
            "data.transforms.source.color_jitter.contrast",
            0.5,
            "configs/deeplabv2_r101_adv.yaml:11, CONTRAST",
        ),
        (
            "data.transforms.source.color_jitter.saturation",
            0.5,
            "configs/deeplabv2_r101_adv.yaml:12, SATURATION",
        ),
        (
            "data.transforms.self_training.color_jitter.hue",
            0.2,
            "configs/deeplabv2_r101_tgt_ssl.yaml:16, HUE",
        ),
        (
            "data.transforms.self_training.size",
            (512, 1024),
            "configs/deeplabv2_r101_tgt_ssl.yaml:9, SOURCE_INPUT_SIZE_TRAIN",
        ),
        (
            "data.transforms.evaluation.size",
            (512, 1024),
            "core/configs/defaults.py:17, INPUT_SIZE_TEST",
        ),
        (
            "data.transforms.source.color_jitter.hue",
            0.2,
            "configs/deeplabv2_r101_adv.yaml:13, HUE; the same in cl",
        ),
        ("data.transforms.target.color_jitter", None, "core/datasets/build.py, is_source alone"),
        (
            "data.transforms.self_training.scale_range",
            (0.5, 1.5),
            "configs/deeplabv2_r101_tgt_ssl.yaml:11, INPUT_SCALES_TRAIN",
        ),
        (
            "data.transforms.self_training.flip",
            True,
            "configs/deeplabv2_r101_tgt_ssl.yaml:12, HORIZONTAL_FLIP_PROB_TRAIN",
        ),
        ("data.transforms.source.mean", IMAGENET[0], "core/configs/defaults.py:20, PIXEL_MEAN"),
    ),
    ("spcl", SYNTHIA): (
        ("warm_up.class_balanced", True, "core/datasets/synthia.py"),
        ("spcl.class_balanced", True, "core/datasets/synthia.py"),
        ("data.transforms.source.size", (760, 1280), "SDCA's SYNTHIA config; SPCL ships none"),
        ("data.source.space", "synthia", "core/datasets/synthia.py, 16 classes"),
    ),
    ("spcl", SYNSCAPES): (
        ("warm_up.class_balanced", False, "core/datasets/synscapes.py"),
        ("spcl.class_balanced", False, "core/datasets/synscapes.py"),
        ("data.source.split", "rgb-2k", "core/datasets/synscapes.py img/rgb-2k"),
        (
            "data.transforms.source.size",
            (720, 1280),
            "core/configs/defaults.py:15, SOURCE_INPUT_SIZE_TRAIN",
        ),
    ),
    ("spcl", f"{GTA5},settings=paper"): (
        ("warm_up.class_balanced", False, "paper, not mentioned"),
        ("spcl.class_balanced", False, "paper, not mentioned"),
        ("warm_up.source_temperature", 1.0, "paper, plain cross-entropy"),
        ("spcl.logit_temperature", 1.0, "paper, plain cross-entropy"),
        ("spcl.source_mask", "labels", "paper eq. 2"),
        ("spcl.target_mask", "online", "paper eq. 5"),
        ("spcl.cap", 0.9, "paper eq. 5"),
        ("spcl.proportion", 0.5, "paper eq. 5, the median"),
        ("spcl.optimizer.weight_decay", 1e-4, "paper, 4.1"),
        ("warm_up.optimizer.weight_decay", 1e-4, "paper, 4.1"),
        ("self_training.optimizer.weight_decay", 1e-4, "paper, 4.1"),
        ("data.transforms.source.flip", True, "paper, 4.1"),
        ("data.transforms.target.flip", True, "paper, 4.1"),
    ),
    ("bicl", GTA5): (
        ("source_only.steps", 12_000, "so_config.yml, one pass, ended where poly does"),
        ("source_only.optimizer.horizon_steps", 12_000, "so_config.yml num_steps 5,000 x 2 x 1.2"),
        ("source_only.optimizer.lr", 7.5e-5, "so_config.yml learning_rate"),
        ("source_only.optimizer.repeats", REPEATED, "model/DeeplabV2.py get_1x_lr_params_NOscale"),
        ("source_only.transform", "source_only", "so_config.yml"),
        ("data.transforms.source_only.size", (600, 600), "so_config.yml crop_src 600"),
        (
            "data.transforms.source_only.shorter_edge",
            (600, 864),
            "so_config.yml input_src 720, times 1.2",
        ),
        ("data.transforms.source.size", (730, 730), "damnet_config_upsize.yml crop_src"),
        (
            "data.transforms.target.shorter_edge",
            (730, 1020),
            "damnet_config_upsize.yml input_tgt 850, times 1.2",
        ),
        ("data.transforms.evaluation.size", (730, 1460), "dataset/dataset.py Resize"),
        ("bicl_0.steps", 10_004, "trainer/damnet_trainer.py, i_iter > 5,000, two epochs"),
        ("bicl_0.optimizer.horizon_steps", 12_000, "utils/optimize.py, num_steps 5,000 x 2 x 1.2"),
        ("bicl_0.optimizer.lr", 7.5e-5, "damnet_config_upsize.yml learning_rate"),
        ("bicl_1.optimizer.lr", 3.75e-5, "trainer/damnet_trainer.py learning_rate / 2"),
        (
            "bicl_9.optimizer.lr",
            7.5e-5 / 512,
            "trainer/damnet_trainer.py learning_rate / 2, nine times",
        ),
        ("bicl_9.optimizer.repeats", REPEATED, "model/DeeplabV2.py get_1x_lr_params_NOscale"),
        ("bicl_0.optimizer.lr_multipliers", HEADS_TIMES_TEN, "utils/optimize.py lr * 10"),
        ("bicl_0.batch_size", 2, "damnet_config_upsize.yml batch_size"),
        ("bicl_0.target_weight", 0.3, "damnet_config_upsize.yml lambt"),
        ("bicl_0.entropy_weight", 0.4, "damnet_config_upsize.yml lamb"),
        ("bicl_0.contrast_weight", 0.2, "damnet_config_upsize.yml lamb_metric1, lamb_metric2"),
        ("bicl_0.temperature", 0.1, "trainer/damnet_trainer.py cosine_similarity_map *= 10"),
        ("bicl_0.dynamic.on", True, "slides"),
        ("bicl_0.dynamic.calibrate", True, "slides"),
        ("bicl_0.dynamic.share", 0.0, "slides, a threshold"),
        ("bicl_0.priority", "dynamic", "slides"),
        ("labels_0.share", 0.1, "damnet_config_upsize.yml cb_prop"),
        ("labels_0.image_share", 0.1, "utils/func.py gene_plabel_prop, cb_prop"),
        ("labels_0.keep_every", 5, "trainer/damnet_trainer.py cls_probs[::5]"),
        ("labels_0.statistics", "image", "trainer/damnet_trainer.py, train mode"),
        ("labels_0.never", (), "trainer/damnet_trainer.py gene_thres"),
        ("model.train_norm_affine", False, "model/DeeplabV2.py requires_grad"),
    ),
    ("bicl", SYNTHIA): (
        ("bicl_0.steps", 9_400, "synthia_damnet_config.yml, two epochs of 4,700 batches"),
        (
            "bicl_9.optimizer.horizon_steps",
            48_000,
            "synthia_damnet_config.yml num_steps 20,000 x 2 x 1.2",
        ),
        ("source_only.steps", 4_700, "trainer/source_only_trainer.py, one pass over 9,400"),
        ("labels_9.never", (9, 14, 16), "trainer/damnet_trainer.py gene_thres, synthia"),
        ("bicl_0.contrast_weight", 0.2, "slides, with contrast"),
        ("data.source.space", "synthia_clan", "trainer/damnet_trainer.py, 19 classes"),
    ),
    ("bicl", f"{SYNTHIA},settings=code"): (
        ("bicl_0.contrast_weight", 0.0, "synthia_damnet_config.yml lamb_metric1, lamb_metric2"),
        ("bicl_0.entropy", "double_softmax", "trainer/damnet_trainer.py entropy_loss"),
    ),
    ("bicl", f"{GTA5},settings=code"): (
        ("bicl_0.contrast_weight", 0.2, "damnet_config_upsize.yml lamb_metric1, lamb_metric2"),
        ("bicl_0.contrast_kind", "pair", "trainer/damnet_trainer.py metric_loss"),
        ("bicl_0.dynamic.on", False, "trainer/damnet_trainer.py, dead branch"),
        ("bicl_0.optimizer.repeats", REPEATED, "model/DeeplabV2.py get_1x_lr_params_NOscale"),
    ),
    ("bicl", f"{GTA5},density=0.343"): (("bicl_9.dynamic.share", 0.343, "slides, table 4"),),
}


def published(recipe, argument):
    return recipes.get_config(recipe, f"{argument},weights=none")


@pytest.mark.parametrize(
    "recipe, argument", PUBLISHED, ids=[":".join(variant) for variant in PUBLISHED]
)
def test_a_recipe_has_the_numbers_of_its_authors(recipe, argument):
    rows = PUBLISHED[recipe, argument]
    assert rows and not recipes.differing(published(recipe, argument), rows)


def test_the_rate_of_every_round_of_bicl_is_half_of_the_last():
    for variant in (GTA5, SYNTHIA, SYNSCAPES):
        config = published("bicl", variant)
        rates = [config[stage].optimizer.lr for stage in config.stages if stage.startswith("bicl_")]
        assert len(rates) == 10 and all(
            later == earlier / 2 for earlier, later in itertools.pairwise(rates)
        )


def test_what_the_table_does_not_name_is_no_other_between_settings():
    """settings=paper changes what its docstring says; a key that slips in would change results
    without a word.
    """
    keys = {
        "adaptsegnet": {"name", "adaptsegnet.optimizer.repeats", "model.aspp_branches"},
        "source_only_seg": {"name", "source_only.optimizer.repeats", "model.aspp_branches"},
        "plca": {"name", "plca.lovasz_weight"},
    }
    for recipe, expected in keys.items():
        code, paper = (
            recipes.values(published(recipe, f"{GTA5},settings={settings}"))
            for settings in ("code", "paper")
        )
        assert {
            key for key in code.keys() | paper.keys() if code.get(key) != paper.get(key)
        } == expected


@pytest.mark.parametrize(
    "recipe, every",
    [
        *((name, 5000) for name in ("adaptsegnet", "source_only_seg")),
        *((name, 2000) for name in ("clan", "spcl", "bicl")),
        ("plca", 5 * 372),
    ],
)
def test_stages_that_train_are_evaluated_as_often_as_the_code_saves_a_snapshot(recipe, every):
    """BiCL's code evaluates every 300 steps. The scenes, and own folders, as before."""
    for variant in (GTA5, SYNTHIA):
        config = recipes.get_config(recipe, f"{variant},source_root=a,target_root=b,weights=none")
        for name in config.stages:
            makes_labels = config[name].method == "pseudo_labels"
            assert config[name].evaluate_every == (0 if makes_labels else every), name
    scenes = recipes.get_config(recipe)
    assert all(scenes[name].evaluate_every == 0 for name in scenes.stages)


@pytest.mark.parametrize("like, every", [("clan", 2000), ("plca", 5 * 372), ("spcl", 2000)])
def test_a_floor_is_evaluated_as_often_as_the_method_that_it_is_the_floor_of(like, every):
    config = recipes.get_config(
        "source_only_seg", f"{GTA5},source_root=a,target_root=b,weights=none,like={like}"
    )
    assert {config[name].evaluate_every for name in config.stages} == {every}

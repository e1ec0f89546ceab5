"""What the classification recipes take from the authors, number by number, against get_config as a
user calls it.

Sources: CAN is kgl-prml/Contrastive-Adaptation-Network-for-Unsupervised-Domain-Adaptation, its
files with their lines; tllib is thuml/Transfer-Learning-Library, whose *.sh and *.py are those of
examples/domain_adaptation/image_classification: lines of a script, flags of a program, whose
default the script leaves alone.
"""

import pytest
import recipes

from dajax.ops.class_blocks import batch_sizes
from dajax.recipes.base import tllib

PHOTOS = "root=DIR,weights=FILE.pth"
A2W, A2D, D2A = (
    f"office31,{PHOTOS},source={source},target={target}"
    for source, target in (("amazon", "webcam"), ("amazon", "dslr"), ("dslr", "amazon"))
)
VISDA, DOMAINNET = f"visda2017,{PHOTOS}", f"domainnet,{PHOTOS},target=clipart"
ONE_DOMAIN = f"domainnet,{PHOTOS},source=real,target=clipart"
HOME = f"officehome,{PHOTOS},source=Art,target=Clipart"
CLEF = f"imageclef,{PHOTOS},source=i,target=p"
FOLDER = f"folder,{PHOTOS},source=A,target=B"
TLLIB_CROP = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}

# {(recipe, argument): ((key, value, where it stands), ...)}
PUBLISHED = {
    ("can", A2W): (
        ("model.backbone", "resnet50", "CAN Office-31/CAN/office31_train_amazon2webcam_cfg.yaml:8"),
        ("model.bottleneck", 0, "CAN config.py:19, FC_HIDDEN_DIMS ()"),
        ("model.dropout", 0.0, "CAN config.py:44, DROPOUT_RATIO"),
        ("model.head_init", "kaiming", "CAN model/model.py"),
        ("data.transform.resize", (256, 256), "CAN config.py:26, LOADSIZE"),
        ("data.transform.size", (224, 224), "CAN config.py:27, FINESIZE"),
        ("data.transform.flip", True, "CAN config.py:28"),
        ("data.transform.mean", (0.485, 0.456, 0.406), "CAN config.py:30"),
        ("data.transform.std", (0.229, 0.224, 0.225), "CAN config.py:31"),
        ("can.batch_size", 30, "CAN config.py:37"),
        ("can.class_aware.target_per_class", 3, "CAN config.py:39"),
        ("can.class_aware.source_per_class", 3, "CAN config.py:40"),
        ("can.class_aware.num_classes", 10, "CAN config.py:41"),
        ("can.class_aware.update_fraction", 1.0, "CAN config.py:59"),
        ("can.target_bn", 1, "CAN solver/can_solver.py, bn_domain_map"),
        ("can.stop_gradient_after", "layer1", "CAN config.py:43"),
        ("can.optimizer.lr", 0.001, "CAN config.py:46"),
        ("can.optimizer.momentum", 0.9, "CAN config.py:47"),
        ("can.optimizer.lr_multipliers", (("/head/", 10.0),), "CAN config.py:48"),
        ("can.optimizer.weight_decay", 0.0005, "CAN config.py:50"),
        ("can.optimizer.nesterov", False, "CAN solver/base_solver.py"),
        ("can.optimizer.schedule", "inv", "CAN config.py:51"),
        ("can.optimizer.alpha", 0.001, "CAN config.py:67"),
        ("can.optimizer.beta", 0.75, "CAN config.py:68"),
        ("can.max_loops", 50, "CAN config.py:52"),
        ("can.stop_thresholds", (0.001, 0.001, 0.001), "CAN config.py:53"),
        ("can.clustering.min_count", 3, "CAN config.py:54, N0"),
        ("can.clustering.batch_size", 100, "CAN config.py:77"),
        ("can.clustering.eps", 0.005, "CAN config.py:81"),
        ("can.clustering.normalize_features", False, "CAN solver/utils.py, get_centers"),
        (
            "can.clustering.max_distance",
            0.05,
            "CAN Office-31/CAN/office31_train_amazon2webcam_cfg.yaml:20, D0",
        ),
        ("can.cdd.weight", 0.3, "CAN config.py:90, beta"),
        ("can.cdd.kernel_num", (5, 5), "CAN config.py:88"),
        ("can.cdd.kernel_mul", (2.0, 2.0), "CAN config.py:89"),
        ("can.cdd.intra_only", False, "CAN config.py:92"),
        (
            "source_only.steps",
            51 * (2817 // 30),
            "CAN solver/single_domain_solver.py, loop > MAX_LOOP; epochs, drop_last",
        ),
        ("source_only.target_bn", 0, "CAN solver/single_domain_solver.py, one set of statistics"),
    ),
    ("can", VISDA): (
        ("model.backbone", "resnet101", "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:8"),
        ("data.transform.crop", "random", "CAN config.py:25, resize_and_crop; data/utils.py"),
        (
            "can.clustering.max_distance",
            1.0,
            "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:22",
        ),
        (
            "can.class_aware.source_per_class",
            10,
            "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:12",
        ),
        (
            "can.class_aware.target_per_class",
            10,
            "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:13",
        ),
        (
            "can.class_aware.num_classes",
            6,
            "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:14",
        ),
        (
            "can.class_aware.update_fraction",
            0.2,
            "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:16",
        ),
        (
            "can.clustering.batch_size",
            600,
            "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:19",
        ),
        ("can.optimizer.alpha", 0.0005, "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:25"),
        ("can.optimizer.beta", 2.25, "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:26"),
        ("can.cdd.weight", 0.3, "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:29"),
        ("metric", "mean-class accuracy", "CAN VisDA-2017/CAN/visda17_train_train2val_cfg.yaml:34"),
        ("stages", ("can",), "CAN solver/can_solver.py: the first clustering is ImageNet's"),
    ),
    ("can", A2D): (
        (
            "can.clustering.max_distance",
            0.05,
            "CAN Office-31/CAN/office31_train_amazon2dslr_cfg.yaml:20",
        ),
    ),
    ("can", D2A): (
        (
            "can.clustering.max_distance",
            1.0,
            "CAN Office-31/CAN/office31_train_dslr2amazon_cfg.yaml:20",
        ),
        (
            "source_only.steps",
            51 * (498 // 30),
            "CAN solver/single_domain_solver.py, loop > MAX_LOOP",
        ),
    ),
    ("can", FOLDER): (("can.clustering.max_distance", 1.0, "CAN config.py:82"),),
    ("mscan", DOMAINNET): (
        ("mscan.cdd.weight", 0.3, "slides of MSCAN: beta, as in CAN"),
        ("mscan.weighting", "bsa", "slides of MSCAN: F_e = 1 / CE_e"),
        (
            "mscan.target_bn",
            5,
            "slides of MSCAN: domain-specific normalisation of five sources and a target",
        ),
    ),
    ("dan", f"{A2W},network=can"): (
        ("dan.steps", 51 * (2817 // 30), "CAN solver/mmd_solver.py:32 and compute_iters_per_loop"),
        ("dan.weight", 0.3, "CAN Office-31/MMD/office31_train_amazon2dslr_cfg.yaml:15"),
        ("dan.kernel", "can", "CAN discrepancy/mmd.py"),
        ("dan.batch_size", 30, "CAN Office-31/MMD/office31_train_amazon2dslr_cfg.yaml:11"),
        ("model.bottleneck", 0, "CAN config.py:19"),
    ),
    ("dan", f"office31,{PHOTOS},source=dslr,target=webcam,network=can"): (
        ("dan.steps", 51 * (795 // 30), "the same: the larger domain"),
    ),
    ("jan", f"{VISDA},network=can"): (
        ("jan.steps", 51 * (152_397 // 30), "CAN solver/mmd_solver.py:32"),
        ("jan.optimizer.beta", 2.25, "CAN VisDA-2017/MMD/visda17_train_train2val_cfg.yaml:17"),
        ("data.transform.crop", "random", "CAN tools/prepare_data.py"),
    ),
    ("dann", A2W): (
        ("dann.steps", 20 * 1000, "tllib dann.sh:3, dann.py -i"),
        ("dann.batch_size", 32, "tllib dann.py -b"),
        ("dann.weight", 1.0, "tllib dann.py --trade-off"),
        ("dann.joint_pass", True, "tllib dann.py, train: torch.cat((x_s, x_t))"),
        ("dann.discriminator_width", 1024, "tllib dann.py, DomainDiscriminator(hidden_size=1024)"),
        (
            "dann.reversal",
            {"low": 0.0, "high": 1.0, "alpha": 1.0, "ramp_steps": 1000},
            "tllib/alignment/dann.py, grl",
        ),
        ("dann.optimizer.lr", 0.01, "tllib dann.py --lr"),
        ("dann.optimizer.alpha", 0.001, "tllib dann.py --lr-gamma"),
        ("dann.optimizer.beta", 0.75, "tllib dann.py --lr-decay"),
        ("dann.optimizer.weight_decay", 1e-3, "tllib dann.py --wd"),
        ("dann.optimizer.nesterov", True, "tllib dann.py, SGD"),
        (
            "dann.optimizer.lr_multipliers",
            (("/backbone/", 0.1),),
            "tllib/modules/classifier.py, get_parameters",
        ),
        ("model.backbone", "resnet50", "tllib dann.sh:3"),
        ("model.bottleneck", 256, "tllib dann.py --bottleneck-dim"),
        ("model.bottleneck_norm", True, "tllib/alignment/dann.py, ImageClassifier"),
        ("model.dropout", 0.0, "tllib/alignment/dann.py, ImageClassifier"),
        ("model.head_init", "torch", "tllib/modules/classifier.py: nn.Linear, no init"),
        (
            "data.transform.resize",
            (256, 256),
            "tllib utils.py, get_train_transform: ResizeImage(256)",
        ),
        (
            "data.transform.crop",
            TLLIB_CROP,
            "tllib dann.py --scale, --ratio; utils.py, RandomResizedCrop(224)",
        ),
    ),
    ("cdan", A2W): (
        ("cdan.steps", 20 * 1000, "tllib cdan.sh:3, cdan.py -i"),
        ("cdan.entropy_conditioning", False, "tllib cdan.py --entropy"),
        ("model.dropout", 0.0, "tllib/alignment/cdan.py, ImageClassifier"),
    ),
    ("dan", A2W): (
        ("dan.steps", 20 * 500, "tllib dan.sh:5, dan.py -i"),
        ("dan.optimizer.lr", 0.003, "tllib dan.py --lr"),
        ("dan.optimizer.alpha", 0.0003, "tllib dan.py --lr-gamma"),
        ("dan.optimizer.weight_decay", 0.0005, "tllib dan.py --wd"),
        ("dan.statistic", "linear", "tllib dan.py --non-linear"),
        ("dan.joint_pass", False, "tllib dan.py, train: model(x_s), model(x_t)"),
        (
            "model.bottleneck_norm",
            False,
            "tllib/alignment/dan.py, ImageClassifier: Linear, ReLU, Dropout",
        ),
        ("model.dropout", 0.5, "tllib/alignment/dan.py, ImageClassifier"),
    ),
    ("jan", A2W): (
        ("jan.steps", 20 * 500, "tllib jan.sh:5, jan.py -i"),
        ("jan.optimizer.lr", 0.003, "tllib jan.py --lr"),
        ("jan.statistic", "quadratic", "tllib jan.py --linear"),
        ("jan.joint_pass", True, "tllib jan.py, train: torch.cat((x_s, x_t))"),
        (
            "model.bottleneck_norm",
            True,
            "tllib/alignment/jan.py, ImageClassifier: Linear, BatchNorm1d, ReLU, Dropout",
        ),
        ("model.dropout", 0.5, "tllib/alignment/jan.py, ImageClassifier"),
    ),
    ("mcd", A2W): (
        ("mcd.steps", 20 * 500, "tllib mcd.sh:7"),
        ("mcd.num_k", 4, "tllib mcd.py --num-k"),
        ("mcd.weight", 10.0, "tllib mcd.sh:7, --trade-off"),
        ("mcd.entropy_weight", 0.01, "tllib mcd.py --trade-off-entropy"),
        ("mcd.optimizer.lr", 0.001, "tllib mcd.py --lr, fixed"),
        ("mcd.optimizer.schedule", "constant", "tllib mcd.py: no scheduler"),
        ("mcd.optimizer.momentum", 0.0, "tllib mcd.py, optimizer_g"),
        ("mcd.classifier_optimizer.momentum", 0.9, "tllib mcd.py, optimizer_f"),
        ("mcd.classifier_optimizer.weight_decay", 0.0005, "tllib mcd.py, optimizer_f"),
        (
            "model.head_widths",
            (1024, 1024),
            "tllib mcd.py --bottleneck-dim; tllib/alignment/mcd.py, ImageClassifierHead",
        ),
        ("model.dropout", 0.5, "tllib/alignment/mcd.py, ImageClassifierHead"),
        ("model.bottleneck", 0, "tllib/alignment/mcd.py: the heads take the pooled features"),
    ),
    ("dann", VISDA): (
        ("dann.steps", 30 * 1000, "tllib dann.sh:25-26"),
        ("model.backbone", "resnet101", "tllib dann.sh:25"),
        ("data.transform.crop", "center", "tllib dann.sh:26, --train-resizing cen.crop"),
        ("data.transform.flip", True, "tllib utils.py, RandomHorizontalFlip"),
    ),
    ("cdan", VISDA): (
        ("cdan.steps", 30 * 1000, "tllib cdan.sh:25-26"),
        ("cdan.randomized_dim", 0, "tllib cdan.py -r"),
    ),
    ("dan", VISDA): (("dan.steps", 20 * 500, "tllib dan.sh:25-26"),),
    ("jan", VISDA): (("jan.steps", 20 * 500, "tllib jan.sh:25-26"),),
    ("mcd", VISDA): (
        ("mcd.steps", 20 * 500, "tllib mcd.sh:27-28"),
        ("data.transform.crop", "center", "tllib mcd.sh:28, --train-resizing cen.crop"),
        ("mcd.weight", 1.0, "tllib mcd.py --trade-off"),
    ),
    ("dann", HOME): (
        ("dann.steps", 30 * 1000, "tllib dann.sh:10"),
        ("model.backbone", "resnet50", "tllib dann.sh:10"),
        ("model.bottleneck", 256, "tllib dann.py --bottleneck-dim"),
        ("data.transform.crop", TLLIB_CROP, "tllib utils.py, get_train_transform: default"),
    ),
    ("cdan", HOME): (("cdan.steps", 30 * 1000, "tllib cdan.sh:10"),),
    ("dan", HOME): (("dan.steps", 20 * 500, "tllib dan.sh:10"),),
    ("jan", HOME): (("jan.steps", 20 * 500, "tllib jan.sh:10"),),
    ("mcd", HOME): (
        ("mcd.steps", 20 * 500, "tllib mcd.sh:12"),
        ("mcd.weight", 30.0, "tllib mcd.sh:12, --trade-off"),
    ),
    ("dann", ONE_DOMAIN): (
        ("dann.steps", 30 * 2500, "tllib dann.sh:29-40"),
        ("model.bottleneck", 1024, "tllib dann.sh:29"),
    ),
    ("cdan", ONE_DOMAIN): (
        ("cdan.steps", 30 * 2500, "tllib cdan.sh:30-41"),
        ("cdan.randomized_dim", 51_200, "tllib cdan.sh:30, -r -rd 51200"),
    ),
    ("dan", ONE_DOMAIN): (("dan.steps", 30 * 2500, "tllib dan.sh:29-40"),),
    ("jan", ONE_DOMAIN): (("jan.steps", 30 * 2500, "tllib jan.sh:29-40"),),
    ("mcd", ONE_DOMAIN): (
        ("mcd.steps", 30 * 2500, "tllib mcd.sh:31-43"),
        ("data.transform.crop", TLLIB_CROP, "tllib utils.py, get_train_transform: default"),
        ("mcd.weight", 120.0, "tllib mcd.sh:31, --trade-off"),
    ),
    ("dann", DOMAINNET): (("dann.steps", 40 * 5000, "tllib dann.sh:69-74, several sources"),),
    ("cdan", DOMAINNET): (
        ("cdan.steps", 40 * 5000, "tllib cdan.sh:70-75"),
        ("cdan.randomized_dim", 51_200, "tllib cdan.sh:70"),
    ),
    ("dan", DOMAINNET): (("dan.steps", 40 * 5000, "tllib dan.sh:69-74"),),
    ("jan", DOMAINNET): (("jan.steps", 40 * 5000, "tllib jan.sh:69-74"),),
    ("mcc", A2W): (
        ("mcc.steps", 50_004, "MCC train_image_office.py"),
        ("mcc.batch_size", 28, "MCC train_image_office.py"),
        ("mcc.temperature", 2.5, "MCC train_image_office.py, --temperature"),
        ("mcc.weight", 1.0, "MCC: trade_off is never read"),
        ("mcc.joint_pass", False, "MCC: two passes"),
        ("mcc.optimizer.lr", 0.003, "MCC: 0.0003, ten times that at new layers"),
        ("mcc.optimizer.lr_multipliers", (("/backbone/", 0.1),), "the same"),
        ("mcc.optimizer.alpha", 0.001, "MCC lr_schedule.py, inv"),
        ("mcc.optimizer.beta", 0.75, "MCC lr_schedule.py, inv"),
        ("mcc.optimizer.weight_decay", 1e-3, "MCC: 5e-4, decay_mult 2"),
        ("mcc.optimizer.nesterov", True, "MCC train_image_office.py"),
        ("model.bottleneck", 256, "MCC network.py, ResNetFc"),
        ("model.bottleneck_norm", True, "MCC network.py, ResNetFc"),
        ("model.bottleneck_relu", False, "MCC network.py, ResNetFc"),
        ("control.weight", 0.0, "ours"),
    ),
    ("mcc", VISDA): (
        ("mcc.steps", 10_004, "MCC train_image_visda.py, num_iterations"),
        ("mcc.batch_size", 36, "MCC train_image_visda.py"),
        ("mcc.temperature", 3.0, "MCC train_image_visda.py, train"),
        ("mcc.optimizer.lr", 0.003, "MCC train_image_visda.py: 0.0003 at the backbone"),
        ("data.transform.crop", "center", "MCC pre_process_visda.py, image_train"),
        ("data.transform.flip", True, "MCC pre_process_visda.py, image_train"),
        ("model.backbone", "resnet101", "MCC train_image_visda.py, --net"),
    ),
    ("mcc", HOME): (
        ("mcc.optimizer.lr", 0.01, "MCC train_image_office.py, office-home: 0.001"),
        ("mcc.steps", 50_004, "MCC train_image_office.py"),
    ),
    ("mcc", CLEF): (("mcc.optimizer.lr", 0.01, "MCC train_image_office.py, image-clef: 0.001"),),
    ("mcc", ONE_DOMAIN): (
        ("mcc.optimizer.lr", 0.01, "MCC train_image_office.py, DomainNet: 0.001"),
        ("model.bottleneck", 256, "MCC train_image_office.py"),
    ),
    ("bnm", A2W): (
        ("bnm.term", "nuclear_norm", "BNM train_image.py"),
        ("bnm.steps", 6004, "BNM DA/BNM/README.md, --num_iterations"),
        ("bnm.batch_size", 36, "BNM train_image.py"),
        ("bnm.weight", 1.0, "BNM train_image.py"),
        ("bnm.joint_pass", False, "BNM train_image.py: two passes"),
        ("bnm.optimizer.lr", 0.01, "BNM: 0.001, ten times that at the head"),
        ("bnm.optimizer.weight_decay", 1e-3, "BNM network.py: 5e-4, decay_mult 2"),
        ("bnm.optimizer.nesterov", True, "BNM train_image.py"),
        ("model.bottleneck", 0, "BNM train_image.py, use_bottleneck False"),
        ("model.dropout", 0.0, "BNM network.py, ResNetFc"),
        ("model.head_init", "kaiming", "BNM network.py, init_weights"),
        ("data.transform.crop", TLLIB_CROP, "BNM pre_process.py, image_train, of webcam and dslr"),
    ),
    ("bnm", A2D): (("bnm.optimizer.lr", 0.003, "BNM train_image.py: 0.0003"),),
    ("bnm", D2A): (("bnm.optimizer.lr", 0.01, "BNM train_image.py: 0.001"),),
    ("bnm", HOME): (
        ("bnm.optimizer.lr", 0.01, "BNM train_image.py, office-home: 0.001"),
        ("data.transform.crop", "random", "BNM pre_process.py, image_target"),
    ),
    ("afn", A2W): (
        ("afn.delta", 1.0, "AFN vanilla/Office31/SAFN train.py, get_L2norm_loss_self_driven"),
        ("afn.weight", 0.05, "AFN vanilla/Office31/SAFN train.py, --weight_L2norm"),
        ("afn.steps", 100 * 24, "AFN vanilla/Office31 train.py, --epoch 100 of webcam, 795 by 32"),
        ("afn.batch_size", 32, "AFN vanilla/Office31/SAFN train.py, --batch_size"),
        ("afn.joint_pass", False, "AFN vanilla/Office31/SAFN train.py: two passes"),
        ("afn.optimizer.lr", 0.001, "AFN vanilla/Office31/SAFN train.py, --lr"),
        ("afn.optimizer.schedule", "constant", "AFN vanilla/Office31/SAFN train.py: none"),
        ("afn.optimizer.momentum", 0.9, "AFN vanilla/Office31/SAFN train.py, opt_f"),
        ("afn.optimizer.nesterov", False, "AFN vanilla/Office31/SAFN train.py, opt_f"),
        ("afn.optimizer.weight_decay", 0.0005, "AFN vanilla/Office31/SAFN train.py, opt_f"),
        ("model.bottleneck", 1000, "AFN vanilla/Office31 model/net.py, fc1"),
        ("model.bottleneck_norm", True, "AFN vanilla/Office31 model/net.py, fc1"),
        ("model.dropout", 0.5, "AFN vanilla/Office31/SAFN train.py, --dropout_p"),
        ("data.transform.resize", (256, 256), "AFN vanilla/Office31/SAFN train.py"),
        ("data.transform.crop", "random", "AFN vanilla/Office31/SAFN train.py"),
    ),
    ("afn", VISDA): (
        ("afn.delta", 0.3, "AFN vanilla/Visda2017/SAFN train.py, get_L2norm_loss_self_driven"),
        ("afn.weight", 0.01, "AFN vanilla/Visda2017/SAFN train.py, --weight_L2norm"),
        ("afn.steps", 50 * 1731, "AFN vanilla/Visda2017/SAFN main.sh, epoch; 55,388 by 32"),
        ("data.transform.crop", "center", "AFN vanilla/Visda2017/SAFN train.py"),
        ("model.bottleneck", 1000, "AFN vanilla/Visda2017 model/net.py, fc1"),
    ),
    ("afn", CLEF): (
        ("afn.weight", 0.05, "AFN vanilla/ImageCLEF/SAFN train_ent.py, --weight_L2norm"),
        ("afn.steps", 100 * 18, "AFN vanilla/ImageCLEF/SAFN main.sh, epoch; 600 by 32"),
    ),
    ("mdd", A2W): (
        ("mdd.steps", 100_000, "MDD train.py, at most"),
        ("mdd.batch_size", 32, "MDD train.py"),
        ("mdd.source_weight", 4.0, "MDD train.py, srcweight of Office-31"),
        (
            "mdd.reversal",
            {"low": 0.0, "high": 0.1, "alpha": 1.0, "ramp_steps": 1000},
            "MDD model/MDD.py, GradientReverseLayer",
        ),
        ("mdd.log_floor", 1e-6, "tllib/alignment/mdd.py, shift_log"),
        ("mdd.joint_pass", True, "MDD train.py: torch.cat"),
        ("mdd.optimizer.lr", 0.004, "MDD train.py"),
        ("mdd.optimizer.alpha", 0.0002, "MDD: 0.001 of iter_num / 5; tllib mdd.py --lr-gamma"),
        ("mdd.optimizer.weight_decay", 0.0005, "MDD train.py"),
        ("mdd.optimizer.lr_multipliers", (("/backbone/", 0.1),), "MDD model/MDD.py"),
        ("model.bottleneck", 1024, "MDD model/MDD.py"),
        ("model.dropout", 0.5, "MDD model/MDD.py"),
        ("model.head_widths", (1024,), "MDD model/MDD.py"),
        ("model.head_layers", "plain", "MDD model/MDD.py: Linear, ReLU, Dropout, Linear"),
    ),
    ("mdd", HOME): (
        ("mdd.source_weight", 2.0, "MDD train.py, srcweight of Office-Home"),
        ("model.bottleneck", 2048, "MDD train.py, width"),
        ("model.head_widths", (2048,), "MDD train.py, width"),
    ),
    ("self_ensemble", "digits"): (
        ("self_ensemble.threshold", 0.96837722, "SE digits, confidence_thresh"),
        ("self_ensemble.weight", 3.0, "SE digits, unsup_weight"),
        ("self_ensemble.balance", "bce", "SE digits, cls_balance_loss"),
        ("self_ensemble.balance_weight", 0.005, "SE digits, cls_balance"),
        ("self_ensemble.teacher.momentum", 0.99, "SE digits, teacher_alpha"),
        ("self_ensemble.supervised", "logits", "SE digits"),
        ("self_ensemble.statistics", "own", "SE digits, OldWeightEMA"),
    ),
    ("self_ensemble", VISDA): (
        ("self_ensemble.threshold", 0.9, "SE photos, confidence_thresh"),
        ("self_ensemble.weight", 10.0, "SE photos, unsup_weight"),
        ("self_ensemble.balance", "bug", "SE photos, cls_bal"),
        ("self_ensemble.balance_weight", 0.01, "SE photos, cls_balance"),
        ("self_ensemble.teacher.momentum", 0.99, "SE photos, teacher_alpha"),
        ("self_ensemble.supervised", "probabilities", "SE photos, --double_softmax"),
        ("self_ensemble.batch_size", 56, "SE photos"),
        ("self_ensemble.optimizer.kind", "adam", "SE photos"),
        ("self_ensemble.optimizer.lr", 1e-5, "SE photos, learning_rate"),
        ("self_ensemble.optimizer.lr_multipliers", (("/backbone/", 0.1),), "SE photos"),
        ("self_ensemble.stop_gradient_after", "layer1", "SE photos: conv1, bn1, layer1 fixed"),
        ("self_ensemble.steps", 148_350, "SE photos: 150 epochs of 55,388 images by 56"),
        ("model.bottleneck", 512, "SE photos, network_architectures.py, new_fc5"),
        ("model.bottleneck_norm", False, "SE photos, network_architectures.py, new_fc5"),
        ("model.bottleneck_relu", True, "SE photos, network_architectures.py, forward"),
        ("model.dropout", 0.5, "SE photos, network_architectures.py, new_drop_fc5"),
        ("model.head_init", "torch", "SE photos, network_architectures.py, new_fc6"),
    ),
    ("self_ensemble", A2W): (
        ("self_ensemble.steps", 50_000, "SE photos, run_office_resnet50.sh: 100 x 28,000 by 56"),
        ("model.bottleneck", 512, "SE photos, network_architectures.py, new_fc5"),
        ("data.transform.crop", "random", "ours: CAN's views"),
    ),
    ("shot", A2W): (
        ("source_only.label_smoothing", 0.1, "SHOT image_source.py, --smooth"),
        ("source_only.steps", 100 * 45, "SHOT, --max_epoch 100 of amazon, 2817 by 64"),
        ("source_only.optimizer.lr", 0.01, "SHOT image_source.py, --lr"),
        ("shot.weight", 0.3, "SHOT image_target.py, --cls_par"),
        ("shot.information_weight", 1.0, "SHOT image_target.py, --ent_par"),
        ("shot.distance", "cosine", "SHOT image_target.py, --distance"),
        ("shot.min_images", 0, "SHOT image_target.py, --threshold"),
        ("shot.refreshes", 15, "SHOT image_target.py, --interval"),
        ("shot.steps", 195, "SHOT, --max_epoch 15 of webcam, 795 by 64, drop_last False"),
        ("shot.batch_size", 64, "SHOT image_target.py, --batch_size"),
        ("shot.label_free_rounds", 0, "SHOT image_target.py"),
        ("shot.optimizer.lr", 0.01, "SHOT image_target.py, --lr"),
        ("shot.optimizer.lr_multipliers", (("/backbone/", 0.1),), "SHOT, --lr_decay1"),
        ("shot.optimizer.beta", 0.75, "SHOT, lr_scheduler"),
        ("shot.optimizer.alpha", 10.0 / 195, "SHOT, lr_scheduler: 10 of max_iter"),
        ("shot.optimizer.weight_decay", 1e-3, "SHOT, lr_scheduler"),
        ("shot.init_from", "source_only", "SHOT: the source model"),
        ("model.bottleneck", 256, "SHOT, --bottleneck"),
        ("model.bottleneck_relu", False, "SHOT network.py, feat_bootleneck"),
        ("model.head_weight_norm", True, "SHOT network.py, feat_classifier of type wn"),
        ("model.head_init", "torch", "SHOT network.py: init_weights comes after weight_norm"),
        ("data.transform.resize", (256, 256), "SHOT image_target.py, image_train"),
        ("data.transform.crop", "random", "SHOT image_target.py, image_train"),
        ("data.transform.size", (224, 224), "SHOT image_target.py, image_train"),
        ("data.transform.flip", True, "SHOT image_target.py, image_train"),
    ),
    ("shot", HOME): (("source_only.steps", 50 * 38, "SHOT, --max_epoch 50 of Art, 2427 by 64"),),
    ("shot", VISDA): (
        ("source_only.steps", 10 * 2382, "SHOT, --max_epoch 10 of train, 152397 by 64"),
        ("shot.steps", 15 * 866, "SHOT, --max_epoch 15 of validation, 55388 by 64"),
        ("data.transform.crop", "random", "SHOT image_target.py, image_train"),
        ("shot.optimizer.lr", 1e-3, "SHOT, VisDA: --lr 1e-3"),
        ("shot.label_free_rounds", 1, "SHOT image_target.py: cls_par 0 in the first interval"),
    ),
    ("m3sda", "digits_five,root=DIR"): (
        ("m3sda.optimizer.kind", "adam", "M3SDA solver_MSDA.py"),
        ("m3sda.optimizer.lr", 0.0002, "M3SDA main.py, --lr"),
        ("m3sda.optimizer.weight_decay", 5e-4, "M3SDA solver_MSDA.py"),
        ("m3sda.batch_size", 128, "M3SDA main.py, --batch_size"),
        ("m3sda.num_k", 4, "M3SDA main.py, --num_k"),
        ("m3sda.moment_weight", 5e-4, "M3SDA solver_MSDA.py"),
        ("m3sda.moment_orders", 2, "M3SDA, equation 1"),
        ("m3sda.weight", 1.0, "M3SDA solver_MSDA.py"),
    ),
    ("dan", "digits"): (
        ("model.bottleneck_norm", False, "tllib/alignment/dan.py, ImageClassifier"),
    ),
    ("mcd", "digits"): (
        ("mcd.weight", 0.3, "tllib mcd.sh, MNIST2USPS --trade-off"),
        ("mcd.entropy_weight", 0.03, "tllib mcd.sh, MNIST2USPS --trade-off-entropy"),
    ),
}


@pytest.mark.parametrize("recipe, argument", PUBLISHED, ids=[":".join(run) for run in PUBLISHED])
def test_a_recipe_has_the_authors_value(recipe, argument):
    rows = PUBLISHED[recipe, argument]
    assert rows and not recipes.differing(recipes.get_config(recipe, argument), rows)


def test_the_two_views_of_self_ensembling_differ():
    """The second is drawn by the same transform."""
    for argument in (None, "digits_five,root=DIR", A2W, "folder,root=DIR,source=A,target=B"):
        transform = recipes.get_config("self_ensemble", argument).data.transform
        assert any(transform.affine.to_dict().values()) or transform.crop == "random", argument
    without = recipes.get_config("self_ensemble", "digits_five,root=DIR,affine=no")
    assert not any(without.data.transform.affine.to_dict().values())


def test_a_folder_with_weights_has_the_settings_of_office_31():
    """But for D0, which is the default of the authors' code, and the source-only row's length,
    which goes by the images.
    """
    folder, office = recipes.get_config("can", FOLDER), recipes.get_config("can", A2W)
    assert folder.stages == office.stages and folder.model == office.model
    assert folder.data.transform == office.data.transform
    folder.can.clustering.max_distance = office.can.clustering.max_distance
    for stage in office.stages:
        assert folder[stage] == office[stage], stage
    alone = [name for name in recipes.NAMES if recipes.module(name).VARIANTS == tllib.VARIANTS]
    assert len(alone) >= 5
    for name in alone:
        folder, office = recipes.get_config(name, FOLDER), recipes.get_config(name, A2W)
        if name in ("afn", "shot"):  # their length goes by the images too
            assert folder[name].steps > office[name].steps
            office[name].steps = folder[name].steps
        if name == "shot":  # and its schedule by that
            office.shot.optimizer.alpha = folder.shot.optimizer.alpha
        assert folder[name] == office[name] and folder.model == office.model, name
    tfds = recipes.get_config("can", "tfds,weights=FILE.pth,source=a,target=b")
    assert tfds.model == recipes.get_config("can", FOLDER).model


@pytest.mark.parametrize("argument", [A2W, VISDA, FOLDER, HOME])
def test_what_is_ours_in_can_is_off_where_a_network_is_pretrained(argument):
    """The published figures are of the network itself, which aligns in every loop."""
    stage = recipes.get_config("can", argument).can
    assert stage.teacher.momentum == 0.0 and stage.predict_with == "student"
    assert not stage.clustering.drop_contradicted and stage.clustering.min_agreement == 0.0


@pytest.mark.parametrize("recipe", ["can", "mscan", "compare_cls"])
def test_from_random_weights_cans_rows_are_held_back_and_averaged(recipe):
    """Folders more carefully than the digits, for their loops are shorter (docs/methods/can.md)."""
    folder = f"folder,root=DIR,source=A{'+B' if recipe == 'mscan' else ''},target=C"
    for argument, bar, rate in ((None, 0.7, 0.01), (folder, 0.8, 0.003)):
        config = recipes.get_config(recipe, argument)
        rows = [config[name] for name in config.stages if config[name].method in ("can", "mscan")]
        assert len(rows) in (1, 3)
        for row in rows:
            assert row.clustering.min_agreement == bar and row.optimizer.lr == rate
            assert row.clustering.drop_contradicted and row.predict_with == "teacher"
            assert row.teacher.momentum == 0.99


@pytest.mark.parametrize("recipe", ["can", "mscan", "compare_cls"])
def test_on_the_digits_the_loss_between_classes_weighs_as_for_the_authors(recipe):
    """(C - 1) / (K - 1) against the loss within classes: 9 / 30 on Office-31, 5 / 11 on VisDA."""
    config = recipes.get_config(recipe, None)
    for row in (config[name] for name in config.stages if config[name].method in ("can", "mscan")):
        for num_classes in (10, 12, 31):
            sizes = batch_sizes(row.class_aware, num_classes)
            assert 9 / 30 <= (sizes.classes - 1) / (num_classes - 1) <= 5 / 11
            assert sizes.source_per_class == sizes.target_per_class
            assert 30 <= sizes.classes * sizes.target_per_class <= 32

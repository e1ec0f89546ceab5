"""What every recipe starts from: the settings of every run. A recipe is a delta on this; code reads
config.x and has no defaults of its own. configs/base/arguments.py explains what a recipe takes.
"""

import re

from ml_collections import ConfigDict, config_dict

from dajax.recipes.base import views

# Published means and deviations of ImageNet, as torchvision and all released code in this field use
# them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# the same as keys of a transform of segmentation
IMAGENET_RGB = dict(channels="rgb", divisor=255.0, mean=IMAGENET_MEAN, std=IMAGENET_STD)


# Of every stage. momentum above 0: a teacher, the moving average of the networks, is kept
# (0.999: mean teacher, DAFormer). predict_with: "student" or "teacher" is evaluated, predicts in
# dajax.load, and is what a stage after it begins with.
NO_TEACHER = dict(teacher=dict(momentum=0.0), predict_with="student")


def settable(tree):
    """The dict `tree` with a place of its own for each None in it, which --config.KEY=VALUE can
    fill: ml_collections reads a flag by the type of the value before.
    """
    if isinstance(tree, dict):
        return {key: settable(value) for key, value in tree.items()}
    return config_dict.placeholder(object) if tree is None else tree


def base(name):
    """The settings of every run, with the embedded digits and a small network for them."""
    return ConfigDict(
        dict(
            name=name,  # names the default workdir
            task="classification",  # or "segmentation", see base/segmentation.py
            seed=0,
            # named at the start; the table prints overall and mean-class accuracy either way
            metric="accuracy",
            stages=(),
            model=dict(
                backbone="resnet_small",
                widths=(16, 32, 64),
                weights="",  # a torch file of the backbone, or none
                bottleneck=0,  # width of a hidden layer after the backbone; CAN has none
                bottleneck_norm=True,
                bottleneck_relu=True,  # False: MCC's and SHOT's
                head_widths=(),  # of hidden layers in the head; CAN has none
                head_layers="norm",  # those layers are MCD's; "plain": MDD's
                dropout=0.0,  # of the bottleneck and of the head's hidden layers
                # CAN's (model/model.py); "torch": torch.nn.Linear's own; "xavier": Xavier's normal
                head_init="kaiming",
                head_weight_norm=False,  # True: SHOT's
                remat="none",  # see base/segmentation.py, REMAT
            ),
            data=settable(digits()),
            # Every stage is measured twice: with its BN statistics as trained, and with statistics
            # re-estimated on unlabelled target images (AdaBN); 0 batches: once. Both are ours.
            evaluation=dict(
                reestimate_batches=50,
                reestimate_batch_size=32,
                # Share of the source's labelled images that no stage trains on, for the rule dev
                # (docs/selection.md).
                source_held_out=0.0,
            ),
            runtime=dict(  # may change between two calls on one workdir
                devices=0,  # 0: all
                log_every=10,  # steps between two lines of metrics.jsonl
                report_seconds=10.0,  # between two lines of output that goes to a file
                checkpoint_every=200,  # steps; a killed run repeats at most so many
                keep_checkpoints=2,
                # Beside the last ones, those of every so many steps, for --select; 0: none.
                keep_every=0,
                eval_batch_size=256,
                # Sets of photos that fit in so much memory together, the smallest first, are
                # decoded once; 0 for none. Office-31 takes 770 MiB at 256 pixels. Ours.
                keep_images_mib=1024.0,
                # Gigabytes (10**9 bytes) of decoded and resized images on disk, in cache_dir, for
                # sets that do not fit in memory; 0 for none. Runs may share the folder.
                cache_gb=0.0,
                cache_dir="~/.cache/dajax/images",
                compilation_cache="~/.cache/dajax/xla",  # "" turns it off
                wandb="",  # a project of Weights & Biases, "PROJECT" or "ENTITY/PROJECT"; "": none
                # "10:15": jax.profiler's trace of these steps of each stage, below STAGE/profile
                profile="",
                # Several processes that train as one (docs/devices.md): HOST:PORT of the first,
                # how many there are and this one's number; or "auto", from SLURM, Open MPI or
                # Kubernetes; or "", one process.
                coordinator="",
                num_processes=0,
                process_id=0,
            ),
        )
    )


def digits():
    """Rendered type -> real handwriting (UCI optdigits), 32 x 32 grey, nothing to download.

    `transform` is the training view; evaluation is the same without its random parts.
    """
    return dict(
        dataset="digits",
        # One world of data_pipeline/digits, or several: "type+outline+stencil+noise". Several are
        # merged, except by the method MSCAN.
        source="type",
        target="handwriting",
        seed=0,  # of the rendering; not the run's seed, so that runs differ in training only
        per_class=400,
        size=32,
        transform=dict(
            size=32,
            resize=None,
            crop=None,
            flip=False,
            **(views.off() | dict(affine=views.affine(32))),
            mean=(0.5,),
            std=(0.5,),
        ),
    )


def folder(root, source, target, *, resize, crop, dataset="folder"):
    """Folders of photos, with CAN's views: resize to a square, random crop and flip (its
    data/utils.py and tools/prepare_data.py).

    Args:
      root: the folder that holds the domains' folders.
      source: a domain, or several: "amazon+dslr".
      target: a domain.
      resize: pixels a side of the square.
      crop: pixels a side of what the network sees.
      dataset: the reader (data_pipeline/classification).
    """
    measured_on = dict(
        evaluation="",  # a domain to measure on; "": the target
        held_out=0.0,  # share of the target's images, not adapted to, to measure on
        held_out_seed=0,  # of which; not the run's seed, so that every run measures on the same
    )
    return dict(
        dataset=dataset,
        root=root,
        source=source,
        target=target,
        # Photos of 4 megapixels or more are decoded at a smaller scale where twice the size that
        # they are resized to is left; published sets are decoded in full.
        **(measured_on | dict(draft=True) if dataset == "folder" else {}),
        transform=dict(
            size=(crop, crop),
            resize=(resize, resize),
            crop="random",
            flip=True,
            **views.off(),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
    )


def office31(root, source, target):
    """Office-31 as downloaded: "amazon", "dslr", "webcam"; as `folder`."""
    return folder(root, source, target, resize=256, crop=224, dataset="office31")


def visda2017(root, source, target):
    """VisDA-2017 as downloaded: "train", "validation", "test"; as `folder`."""
    return folder(root, source, target, resize=256, crop=224, dataset="visda2017")


def published(dataset, root, source, target):
    """Office-Home ("officehome": "Art", "Clipart", "Product", "Real World"), PACS ("pacs":
    "art_painting", "cartoon", "photo", "sketch") or ImageCLEF-DA ("imageclef": "b", "c", "i", "p")
    as downloaded; with Office-31's views, as `folder`.
    """
    return folder(root, source, target, resize=256, crop=224, dataset=dataset)


def digits_five(root, source, target):
    """Digits-Five as M3SDA's authors pass it on: "mnist", "mnistm", "svhn", "syn", "usps", 32 x 32
    pixels in three channels.
    """
    return dict(
        dataset="digits_five",
        root=root,
        source=source,
        target=target,
        source_split="train",
        target_split="train",  # adapted to, without its labels
        evaluation_split="test",
        transform=dict(
            size=(32, 32),
            resize=None,
            crop=None,
            flip=False,
            **views.off(),
            mean=(0.5,),
            std=(0.5,),
        ),
    )


def domainnet(root, source, target):
    """DomainNet as downloaded: "clipart", "infograph", "painting", "quickdraw", "real", "sketch";
    as `folder`.
    """
    return dict(
        folder(root, source, target, resize=256, crop=224, dataset="domainnet"),
        # "train", "test" or "all". MSCAN's slides do not say which; this is the protocol of
        # DomainNet's authors, who published the lists.
        source_split="train",
        target_split="train",  # adapted to, without its labels
        evaluation_split="test",
    )


def tfds(source, target, root="", *, resize, crop):
    """Sets of tensorflow-datasets by name, "mnist", "domainnet/real:test"; as `folder`.

    Args:
      root: tensorflow-datasets' data_dir, "" for its default.
    """
    return dict(
        folder(root, source, target, resize=resize, crop=crop, dataset="tfds"),
        source_split="train",  # of a name without ":split"
        target_split="train",
        evaluation_split="test",  # of the target's set; "": the images that are adapted to
        download=False,  # True: a set that is not there is downloaded and prepared first
    )


def sgd(**settings):
    """SGD as the methods here use it. Momentum and decay are those of CAN's config.py, and the same
    in CLAN and AdaptSegNet.

    Args:
      **settings: lr, schedule and the schedule's own keys; and what differs from the values below.
    """
    return dict(
        dict(
            kind="sgd",
            momentum=0.9,
            weight_decay=5e-4,
            nesterov=False,
            lr_multipliers=(),  # (pattern of parameters' names, factor on their rate)
            repeats=(),  # (pattern, times that a step is applied); see base/segmentation.py
        ),
        **settings,
    )


def adam(**settings):
    """torch.optim.Adam with its defaults for the averages.

    Args:
      **settings: lr, schedule and the schedule's own keys; and what differs from the values below.
    """
    return dict(
        dict(
            kind="adam",
            betas=(0.9, 0.999),
            weight_decay=0.0,
            lr_multipliers=(),  # (pattern of parameters' names, factor on their rate)
        ),
        **settings,
    )


def adamw(**settings):
    """torch.optim.AdamW as DAFormer and VFM-UDA use it; both have its defaults for the averages.

    Args:
      **settings: lr, schedule and the schedule's own keys; and what differs from the values below.
    """
    return dict(
        dict(
            kind="adamw",
            betas=(0.9, 0.999),
            weight_decay=0.01,
            lr_multipliers=(),  # (pattern of parameters' names, factor on their rate)
            decay_multipliers=(),  # (pattern, factor on weight_decay)
            layer_decay=1.0,  # of a ViT: factor on the rate from a block to the one below it
        ),
        **settings,
    )


def custom_keys(keys):
    """lr_multipliers and decay_multipliers that stand for paramwise_cfg.custom_keys of mmcv.

    A parameter belongs to the longest key that is a part of its name, of equally long ones to the
    first in the alphabet (mmcv 1.3.7, DefaultOptimizerConstructor), and to that one alone: a head's
    norm keeps its decay where "head" comes before "norm".

    Args:
      keys: {part of a name: (factor on the rate, factor on the decay)}.
    """
    order = sorted(keys, key=lambda key: (-len(key), key))
    patterns = [(re.escape(key), *keys[key]) for key in order]
    return dict(
        lr_multipliers=tuple((pattern, rate) for pattern, rate, _ in patterns),
        decay_multipliers=tuple((pattern, decay) for pattern, _, decay in patterns),
    )

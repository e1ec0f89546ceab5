"""What the classification recipes share: arguments, data, a source-only start, and the baselines.

ARGUMENTS, "variant,key=value,...", each for the variants of USES alone:

  root      the folder of the data; of tfds its data_dir
  source    one domain or several, "amazon+dslr"; of the digits the rendered worlds, "type"
  target    the domain to adapt to
  weights   a file of ImageNet weights for the backbone, or "none" for random ones: office31,
            visda2017 and domainnet want one or the other. With a file, folder and tfds are
            fine-tuned as office31 is; without, they train a small network from scratch
  backbone  of folder and tfds with weights: resnet50, as office31 has it, or resnet101
  size      of folder and tfds, pixels a side: 64 from scratch, 224 with weights
  network   of the baselines: "own", tllib's, or "can"

WEIGHTS. CAN's authors and tllib take torchvision's ImageNet weights of their time, to be had as
https://download.pytorch.org/models/NAME; the name holds the first eight digits of the file's
SHA-256 (`sha256sum FILE`):

  resnet50-19c8e357.pth    resnet101-5d3b4d8f.pth    the authors' files
  resnet50-0676ba61.pth    resnet101-63fe2227.pth    torchvision's IMAGENET1K_V1 of today: the same
                                                     networks, stored anew in 2020

Not IMAGENET1K_V2 (resnet50-11ad3fa6.pth, resnet101-cd907fc2.pth), which was trained otherwise.

BASELINES. Their settings are those of thuml/Transfer-Learning-Library (tllib: *.py and *.sh of
examples/domain_adaptation/image_classification, the networks in tllib/alignment), held to them
row by row by tests/configs/test_published_classification.py. What is not tllib's:

  from scratch         digits, folder, tfds: a small network, after a source-only stage, 1,000
                       steps at one rate for all of it (ours); tllib's own head and bottleneck
  folder, tfds         with weights: steps and weights of Office-31 (ours), tllib has no such task
  the reported figure  the last step's; tllib keeps the best by target labels, and of MCD's
                       classifiers the better
  MCD on domainnet     from several sources too it takes the 75,000 steps of tllib's one source

With network=can they get CAN's network instead, normalisation per domain and no bottleneck, CAN's
views and optimiser and, for dan and jan, the kernels and the weight of its repository's MMD files.
All take as many steps as these: 51 loops of one epoch of the larger domain (solver/mmd_solver.py),
so that a comparison is of the alignment alone; that repository has no dann, cdan or mcd. Where the
number of images is not known here, it is Office-31's amazon (folder, tfds), VisDA's train
(domainnet).
"""

from ml_collections import ConfigDict

from dajax.recipes.base import common as base

_PHOTOS = ("root", "source", "target", "weights")
_ANY_SIZE = (*_PHOTOS, "backbone", "size")
USES = {
    "digits": ("source",),
    "folder": _ANY_SIZE,
    "tfds": _ANY_SIZE,
    "office31": _PHOTOS,
    "visda2017": _PHOTOS,
    "domainnet": _PHOTOS,
}
PRETRAINED = ("office31", "visda2017", "domainnet")
NETWORKS = ("own", "can")
# "" and 0: what the variant has.
ARGS = dict(
    root="", source="", target="", weights="", backbone=("", "resnet50", "resnet101"), size=0
)
DOMAINNET = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
SIZE_FROM_SCRATCH, SIZE_WITH_WEIGHTS = 64, 224
# Of a baseline on the digits and small folders: about what CAN's eight loops take.
SMALL_STEPS = 1000


def parse(arg, *, networks=NETWORKS, uses=USES):
    """The argument of a recipe: a variant and a value for each of ARGS, and for network.

    Args:
      arg: what follows the colon of --config, or None.
      networks: those that the recipe lets its user choose from, () for CAN's own recipes.
      uses: {variant: the keys that it uses}.

    Raises:
      ValueError: see base.parse_arg; in one line.
    """
    if networks:
        parsed = base.parse_arg(
            arg,
            {variant: (*keys, "network") for variant, keys in uses.items()},
            pretrained=PRETRAINED,
            **ARGS,
            network=networks,
        )
    else:
        parsed = base.parse_arg(arg, uses, pretrained=PRETRAINED, **ARGS)
        parsed.network = "can"
    if parsed.size < 0:
        raise ValueError(f"configuration argument 'size={parsed.size}': expected pixels, above 0")
    if parsed.backbone and from_scratch(parsed):
        raise ValueError(
            f"configuration argument 'backbone={parsed.backbone}': variant {parsed.variant} uses"
            " backbone with weights=FILE only; without, it trains a small network"
        )
    return parsed


def from_scratch(arg):
    """Whether the variant trains a small network from random weights, a source-only stage first."""
    return arg.variant not in PRETRAINED and not arg.weights


def name_of(recipe, arg, data, *, show_network):
    """The run's name, a folder's: everything of `arg` that changes the network or the data, but for
    where files lie.

    Args:
      data: the config's, for the domains that the argument left to the variant.
      show_network: whether network=can is worth naming, since the recipe has another.
    """
    source, target = data.source, data.target
    if arg.variant in ("digits", "ablations"):
        source, target = arg.source, ""
    elif arg.variant == "domainnet" and not arg.source:
        source = "others"
    size = f"size{arg.size}" if arg.size not in (0, _default_size(arg)) else ""
    weights = base.weights_name(arg.weights, is_pretrained=arg.variant in PRETRAINED)
    network = "network_can" if show_network and arg.network == "can" else ""
    backbone = "" if arg.backbone == "resnet50" else arg.backbone
    return base.run_name(recipe, arg.variant, source, target, network, backbone, weights, size)


def _default_size(arg):
    return SIZE_WITH_WEIGHTS if arg.weights else SIZE_FROM_SCRATCH


def start(name, arg, *, show_network=True):
    """A config with the data and the backbone of a variant, and stage source_only where nothing is
    pretrained.
    """
    config = base.base(name)
    if arg.variant not in ("digits", "ablations"):
        config.data = ConfigDict(_photos(arg))
    elif arg.source:
        config.data.source = arg.source
    config.name = name_of(name, arg, config.data, show_network=show_network)
    if from_scratch(arg):
        config.source_only = source_only_from_scratch()
        return config
    config.model.weights, config.runtime.eval_batch_size = arg.weights, 100
    config.model.backbone = arg.backbone or (
        "resnet101" if arg.variant in ("visda2017", "domainnet") else "resnet50"
    )
    if arg.variant == "visda2017":
        config.metric = "mean-class accuracy"
    return config


def _photos(arg):
    """The data of a variant: CAN's views, or tllib's for the baselines' own network."""
    size = arg.size or _default_size(arg)
    sizes = dict(resize=size * 8 // 7, crop=size)  # CAN's and tllib's 256 : 224
    if arg.variant == "folder":
        data = base.folder(arg.root, arg.source, arg.target, **sizes)
    elif arg.variant == "tfds":
        data = base.tfds(arg.source, arg.target, arg.root, **sizes)
    elif arg.variant == "office31":
        data = base.office31(arg.root, arg.source or "amazon", arg.target or "webcam")
    elif arg.variant == "visda2017":
        data = base.visda2017(arg.root, arg.source or "train", arg.target or "validation")
    else:
        target = arg.target or "clipart"
        data = base.domainnet(
            arg.root, arg.source or "+".join(name for name in DOMAINNET if name != target), target
        )
    if arg.network == "own" and not from_scratch(arg):
        data["transform"]["crop"] = tllib_crop(arg)
    return data


def tllib_crop(arg):
    """How tllib crops the image that it has resized to a square (utils.get_train_transform);
    evaluation takes the centre.
    """
    if arg.variant == "visda2017":
        return "center"  # *.sh: --train-resizing cen.crop
    # RandomResizedCrop with torchvision's defaults, which are *.py's too
    return dict(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))


def source_only_from_scratch():
    """A small network on labelled images, from random weights."""
    return ConfigDict(
        dict(
            method="source_only",
            init_from="",
            steps=300,
            batch_size=64,
            target_bn=0,
            stop_gradient_after="",
            evaluate_every=0,
            **base.NO_TEACHER,
            optimizer=base.sgd(lr=0.05, schedule="cosine"),
        )
    )


def adabn():
    """Statistics of the target in the source-only network."""
    return ConfigDict(
        dict(
            method="adabn",
            init_from="source_only",
            steps=100,
            batch_size=64,
            target_bn=0,
            stop_gradient_after="",
            evaluate_every=0,
            **base.NO_TEACHER,
        )
    )


# Images of a domain (CAN's paper; the sets' own READMEs).
COUNTS = {
    "office31": {"amazon": 2817, "dslr": 498, "webcam": 795},
    "visda2017": {"train": 152_397, "validation": 55_388, "test": 72_372},
}
# config/config.py: SOURCE_BATCH_SIZE; MAX_LOOP 50, which SourceOnly and MMD run one beyond (loop >
# 50)
CAN_BATCH, CAN_EPOCHS = 30, 51


def authors_epochs(arg, *domains):
    """Steps of CAN's SourceOnly and MMD files: 51 epochs of the largest of `domains`. Of unknown
    numbers see the module's docstring.
    """
    images = COUNTS.get(arg.variant, {})
    counts = [sum(images.get(name, 0) for name in domain.split("+")) for domain in domains]
    if not all(counts):
        counts = [
            (
                COUNTS["visda2017"]["train"]
                if arg.variant == "domainnet"
                else COUNTS["office31"]["amazon"]
            )
        ]
    return CAN_EPOCHS * (max(counts) // CAN_BATCH)


def _optimizer(lr, alpha, weight_decay):
    """tllib's: the backbone at a tenth of the rate of what is new; inv with 0.75."""
    return base.sgd(
        lr=lr,
        schedule="inv",
        alpha=alpha,
        beta=0.75,
        nesterov=True,
        weight_decay=weight_decay,
        lr_multipliers=(("/backbone/", 0.1),),
    )


# steps: epochs x iterations an epoch of the scripts, for Office-31.
_ADVERSARIAL = dict(
    steps=20_000,
    joint_pass=True,
    discriminator_width=1024,
    reversal=dict(low=0.0, high=1.0, alpha=1.0, ramp_steps=1000),
    optimizer=_optimizer(0.01, 0.001, 1e-3),
)
_KERNEL = dict(steps=10_000, kernel="tllib", optimizer=_optimizer(0.003, 0.0003, 5e-4))
_FIXED = dict(lr=0.001, schedule="constant", weight_decay=5e-4)
BASELINES = {
    "dann": _ADVERSARIAL,
    # entropy_conditioning=True: CDAN+E.
    "cdan": _ADVERSARIAL | dict(entropy_conditioning=False, randomized_dim=0),
    # joint_pass: dan.py passes the domains one after the other, jan.py in one batch.
    # statistic="quadratic": dan.py's --non-linear.
    "dan": _KERNEL | dict(joint_pass=False, statistic="linear"),
    "jan": _KERNEL | dict(joint_pass=True, statistic="quadratic"),
    "mcd": dict(
        # weight: Office-31
        steps=10_000,
        joint_pass=True,
        weight=10.0,
        entropy_weight=0.01,
        num_k=4,
        optimizer=base.sgd(**_FIXED) | dict(momentum=0.0),
        classifier_optimizer=base.sgd(**_FIXED),
    ),
}


def baseline(method, arg):
    """A stage of one of BASELINES for a variant."""
    common = dict(
        method=method,
        init_from="",
        target_bn=0,
        stop_gradient_after="",
        evaluate_every=0,
        batch_size=32,
        weight=1.0,
        **base.NO_TEACHER,
    )
    stage = ConfigDict(common | BASELINES[method])
    if method == "mcd":
        stage.weight = {"visda2017": 1.0, "domainnet": 120.0}.get(arg.variant, stage.weight)
    if arg.variant == "domainnet":
        from_one_source = method == "mcd" or (arg.source and "+" not in arg.source)
        # 30 x 2,500; 40 x 5,000 from several sources
        stage.steps = 75_000 if from_one_source else 200_000
        if method == "cdan":
            stage.randomized_dim = 51_200  # cdan.sh: -r -rd 51200
    elif arg.variant == "visda2017" and method in ("dann", "cdan"):
        stage.steps = 30_000
    if arg.network == "can":
        with_cans_network(stage, arg)
    if from_scratch(arg):
        on_small_images(stage)
    return stage


def with_cans_network(stage, arg):
    """Normalisation per domain, CAN's gradient stop, optimiser and number of steps and, for dan and
    jan, kernels and weight (its MMD files).
    """
    if not from_scratch(arg):
        data = _photos(arg)
        stage.steps = authors_epochs(arg, data["source"], data["target"])
    stage.target_bn, stage.joint_pass, stage.batch_size = 1, False, CAN_BATCH
    stage.stop_gradient_after = "" if from_scratch(arg) else "layer1"
    alpha, beta = (0.0005, 2.25) if arg.variant == "visda2017" else (0.001, 0.75)
    stage.optimizer = ConfigDict(
        base.sgd(
            lr=0.001, schedule="inv", alpha=alpha, beta=beta, lr_multipliers=(("head/", 10.0),)
        )
    )
    if "kernel" in stage:
        stage.kernel, stage.weight = "can", 0.3
    if "reversal" in stage:
        stage.optimizer.lr_multipliers = (("head/", 10.0), ("^discriminator/", 10.0))
    # its features without momentum, as in its own; the heads are the other optimiser's
    if stage.method == "mcd":
        stage.classifier_optimizer = stage.optimizer.copy_and_resolve_references()
        stage.optimizer.update(momentum=0.0, lr_multipliers=())
        stage.classifier_optimizer.update(lr=0.01, lr_multipliers=())


def on_small_images(stage):
    """For a network that a source-only stage has trained from scratch: one rate for all of it, ten
    times fine-tuning's, as can.py has it.
    """
    stage.init_from, stage.steps = "source_only", SMALL_STEPS
    stage.optimizer.update(lr=0.01, lr_multipliers=())
    if stage.method == "mcd":
        stage.steps //= 2  # each of its steps passes the network six times
        stage.weight, stage.entropy_weight = 0.3, 0.03  # tllib's digits
        stage.classifier_optimizer.lr = 0.01


def own_network(config, method, arg):
    """tllib's bottleneck, or the hidden layers of its MCD (tllib/alignment/METHOD.py,
    ImageClassifier), for network=own.
    """
    if arg.network != "own":
        return
    config.model.update(head_init="torch", dropout=0.5 if method in ("dan", "jan", "mcd") else 0.0)
    if method == "mcd":
        config.model.head_widths = (1024, 1024)
    else:
        # *.sh: --bottleneck-dim 1024 for DomainNet.
        config.model.update(
            bottleneck=1024 if arg.variant == "domainnet" else 256, bottleneck_norm=method != "dan"
        )


def recipe(method, arg):
    """source_only where nothing is pretrained, and one baseline."""
    arg = parse(arg)
    config = start(method, arg)
    own_network(config, method, arg)
    config[method] = baseline(method, arg)
    config.stages = ("source_only", method) if from_scratch(arg) else (method,)
    return config

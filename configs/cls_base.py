"""What the classification recipes share: data, source-only start, and the baselines that align a batch at a time.

The baselines' settings are those of thuml/Transfer-Learning-Library (tllib, examples/domain_adaptation/image_classification, *.py and *.sh).
network=can gives them CAN's network instead, normalisation per domain and no bottleneck, CAN's optimiser, and for dan and jan the kernels of
CAN's repository, so that a comparison with CAN is of the alignment alone.
"""

from ml_collections import ConfigDict

from configs import base

VARIANTS = ("digits", "folder", "tfds", "office31", "visda2017", "domainnet")
ARGS = dict(root="", source="", target="", weights="", size=64, network="own")
NETWORKS = ("own", "can")
DOMAINNET = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
FROM_SCRATCH = ("digits", "folder", "tfds")
# Of a baseline on the digits and small folders: about what CAN's eight loops take.
SMALL_STEPS = 1000


def parse(arg):
    """The argument of a recipe: a variant and ARGS.

    Raises:
      ValueError: an unknown variant, key or network.
    """
    arg = base.parse_arg(arg, VARIANTS, **ARGS)
    if arg.network not in NETWORKS:
        raise ValueError(f"network={arg.network}: known: {', '.join(NETWORKS)}")
    return arg


def start(name, arg):
    """A config with the data and the backbone of a variant, and stage source_only."""
    parts = (name, arg.variant, arg.source, arg.target, "" if arg.network == "own" else "network_" + arg.network)
    config = base.base("-".join(filter(None, parts)).replace("/", "_").replace(":", "_"))  # names a folder
    if arg.variant in FROM_SCRATCH:
        if arg.variant == "folder":
            config.data = ConfigDict(base.folder(arg.root, arg.source, arg.target, resize=arg.size * 8 // 7, crop=arg.size))  # 256 : 224
        elif arg.variant == "tfds":
            config.data = ConfigDict(base.tfds(arg.source, arg.target, arg.root, resize=arg.size * 8 // 7, crop=arg.size))
        elif arg.source:
            config.data.source = arg.source
        config.source_only = source_only_from_scratch()
        return config
    config.model.weights, config.runtime.eval_batch_size = arg.weights, 100
    if arg.variant == "office31":
        config.model.backbone, config.data = "resnet50", ConfigDict(base.office31(arg.root, arg.source or "amazon", arg.target or "webcam"))
    elif arg.variant == "visda2017":
        config.model.backbone, config.metric = "resnet101", "mean-class accuracy"
        config.data = ConfigDict(base.visda2017(arg.root, arg.source or "train", arg.target or "validation"))
    else:
        target = arg.target or "clipart"
        config.model.backbone = "resnet101"
        config.data = ConfigDict(base.domainnet(arg.root, arg.source or "+".join(name for name in DOMAINNET if name != target), target))
    return config


def source_only_from_scratch():
    """A small network on labelled images, from random weights."""
    return ConfigDict(
        dict(
            method="source_only", init_from="", steps=300, batch_size=64, target_bn=0, stop_gradient_after="", evaluate_every=0,
            optimizer=base.sgd(lr=0.05, schedule="cosine"),
        )
    )


def adabn():
    """Statistics of the target in the source-only network."""
    return ConfigDict(
        dict(method="adabn", init_from="source_only", steps=100, batch_size=64, target_bn=0, stop_gradient_after="", evaluate_every=0)
    )


def _optimizer(lr, alpha, weight_decay):
    """tllib's: the backbone at a tenth of the rate of what is new; inv with 0.75."""
    return base.sgd(lr=lr, schedule="inv", alpha=alpha, beta=0.75, nesterov=True, weight_decay=weight_decay, lr_multipliers=(("/backbone/", 0.1),))


_ADVERSARIAL = dict(
    steps=20_000, joint_pass=True, discriminator_width=1024, reversal=dict(low=0.0, high=1.0, alpha=1.0, ramp_steps=1000),
    optimizer=_optimizer(0.01, 0.001, 1e-3),
)
_KERNEL = dict(steps=10_000, joint_pass=False, kernel="tllib", optimizer=_optimizer(0.003, 0.0003, 5e-4))
_FIXED = dict(lr=0.001, schedule="constant", weight_decay=5e-4)
BASELINES = {
    "dann": _ADVERSARIAL,
    "cdan": _ADVERSARIAL | dict(entropy_conditioning=False),  # True: CDAN+E
    "dan": _KERNEL | dict(statistic="linear"),  # tllib's script; "quadratic": its --non-linear
    "jan": _KERNEL | dict(statistic="quadratic"),
    "mcd": dict(
        steps=10_000, joint_pass=True, weight=10.0, entropy_weight=0.01, num_k=4,  # weight: Office-31
        optimizer=base.sgd(**_FIXED) | dict(momentum=0.0), classifier_optimizer=base.sgd(**_FIXED),
    ),
}


def baseline(method, arg):
    """A stage of one of BASELINES for a variant."""
    common = dict(method=method, init_from="", target_bn=0, stop_gradient_after="", evaluate_every=0, batch_size=32, weight=1.0)
    stage = ConfigDict(common | BASELINES[method])
    if method == "mcd":
        stage.weight = {"visda2017": 1.0, "domainnet": 120.0}.get(arg.variant, stage.weight)
    if arg.variant == "domainnet":
        stage.steps = 200_000  # 40 x 5,000, several sources
    elif arg.variant == "visda2017" and method == "cdan":
        stage.steps = 30_000
    if arg.network == "can":
        with_cans_network(stage, arg)
    if arg.variant in FROM_SCRATCH:
        on_small_images(stage)
    return stage


def with_cans_network(stage, arg):
    """Normalisation per domain, CAN's gradient stop, optimiser and, for dan and jan, kernels and weight (its MMD yaml files)."""
    stage.target_bn, stage.joint_pass, stage.batch_size = 1, False, 30
    stage.stop_gradient_after = "" if arg.variant in FROM_SCRATCH else "layer1"
    alpha, beta = (0.0005, 2.25) if arg.variant == "visda2017" else (0.001, 0.75)
    stage.optimizer = ConfigDict(base.sgd(lr=0.001, schedule="inv", alpha=alpha, beta=beta, lr_multipliers=(("head/", 10.0),)))
    if "kernel" in stage:
        stage.kernel, stage.weight = "can", 0.3
    if "reversal" in stage:
        stage.optimizer.lr_multipliers = (("head/", 10.0), ("^discriminator/", 10.0))
    if stage.method == "mcd":  # its features without momentum, as in its own; the heads are the other optimiser's
        stage.classifier_optimizer = stage.optimizer.copy_and_resolve_references()
        stage.optimizer.update(momentum=0.0, lr_multipliers=())
        stage.classifier_optimizer.update(lr=0.01, lr_multipliers=())


def on_small_images(stage):
    """For a network that a source-only stage has trained from scratch: one rate for all of it, ten times fine-tuning's, as can.py has it."""
    stage.init_from, stage.steps = "source_only", SMALL_STEPS
    stage.optimizer.update(lr=0.01, lr_multipliers=())
    if stage.method == "mcd":
        stage.steps //= 2  # each of its steps passes the network six times
        stage.weight, stage.entropy_weight = 0.3, 0.03  # tllib's digits
        stage.classifier_optimizer.lr = 0.01


def own_network(config, method, arg):
    """The bottleneck or the hidden layers of tllib's classifiers, for network=own."""
    if arg.network == "own":
        width = 1024 if arg.variant == "domainnet" else 256
        config.model.update(dict(head_widths=(1024, 1024)) if method == "mcd" else dict(bottleneck=width))


def recipe(method, arg):
    """source_only where nothing is pretrained, and one baseline."""
    arg = parse(arg)
    config = start(method, arg)
    own_network(config, method, arg)
    config[method] = baseline(method, arg)
    config.stages = ("source_only", method) if arg.variant in FROM_SCRATCH else (method,)
    return config

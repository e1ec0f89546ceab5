"""What CAN's repository shares between its own method and its baselines: how long they train, and
for the baselines (network=can) the network, optimiser and batch of its MMD files.

Source: kgl-prml/Contrastive-Adaptation-Network-for-Unsupervised-Domain-Adaptation. It has files of
DAN (MMD; JAN with MMD.JOINT) and of source only (SourceOnly), and none of the other methods, which
take here as many steps and the same optimiser, so that a comparison is of the alignment alone.
"""

from ml_collections import ConfigDict

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base

# Images of a domain (CAN's paper; the sets' own READMEs).
IMAGES = {
    "office31": {"amazon": 2817, "dslr": 498, "webcam": 795},
    "visda2017": {"train": 152_397, "validation": 55_388, "test": 72_372},
    "officehome": {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357},
    "pacs": {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
    "imageclef": dict.fromkeys("bcip", 600),
}
BATCH_SIZE = 30  # config/config.py, SOURCE_BATCH_SIZE
EPOCHS = 51  # config/config.py, MAX_LOOP 50, which MMD and SourceOnly run one beyond (loop > 50)


def steps(arg, *domains):
    """Steps of CAN's MMD and SourceOnly files: 51 epochs of the largest of `domains`, each a name
    or several, "amazon+dslr".

    Where the number of images is not known here, it is that of VisDA's train for DomainNet and of
    Office-31's amazon for any folder (ours).
    """
    return EPOCHS * (num_images(arg, *domains) // BATCH_SIZE)


def num_images(arg, *domains):
    """Images of the largest of `domains`; of unknown ones as `steps` says."""
    images = IMAGES.get(arg.variant, {})
    counts = [sum(images.get(name, 0) for name in domain.split("+")) for domain in domains]
    if not all(counts):
        is_large = arg.variant == "domainnet"
        counts = [IMAGES["visda2017"]["train"] if is_large else IMAGES["office31"]["amazon"]]
    return max(counts)


def fit(stage, arg):
    """Fits a baseline's stage to CAN's network: normalisation per domain, domains passed one after
    the other, the frozen first layers, batch, optimiser and number of steps.
    """
    # As CAN's Office-31 and VisDA-2017 files of MMD have it; DomainNet as configs/can.py (ours).
    alpha = 0.0005 if arg.variant in cls_base.LARGE else 0.001
    beta = 2.25 if arg.variant == "visda2017" else 0.75
    stage.update(
        batch_size=BATCH_SIZE,
        target_bn=1,
        # from scratch no layer is general enough to be frozen (configs/can.py)
        stop_gradient_after="" if cls_base.from_scratch(arg) else "layer1",
    )
    if "joint_pass" in stage:
        stage.joint_pass = False
    stage.optimizer = ConfigDict(
        base.sgd(
            lr=0.001, schedule="inv", alpha=alpha, beta=beta, lr_multipliers=(("head/", 10.0),)
        )
    )
    if "discriminator_width" in stage:
        # as new as the head is
        stage.optimizer.lr_multipliers += (("^discriminator/", 10.0),)
    if not cls_base.from_scratch(arg):
        stage.steps = steps(arg, *cls_base.domains(arg))

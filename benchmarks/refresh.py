"""A contender: MSCAN's refresh as a run does it, over images made on the way, with where its time
goes, and what it holds beyond the target's features.
"""

import time
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.race import Prepared, status_mib
from dajax.methods import Sizes
from dajax.methods.classification import _cluster_passes, mscan
from dajax.models.classifier import Output
from dajax.recipes import mscan as recipe
from dajax.recipes.base import classification as cls_base
from dajax.tasks.classification.feed import Feed

IMAGE_SHAPE = (8, 8, 3)
# of the patterns of classes and domains, against noise of 1 a pixel
CLASS_SPREAD, DOMAIN_SPREAD = 1.0, 0.3
# What is timed, as the modules name it; the rest of the refresh is the filter and the sampler of
# the next loop.
PARTS = {
    "target_features": _cluster_passes,
    "source_centers": _cluster_passes,
    "cluster": _cluster_passes,
    "ensemble_labels": mscan,
}


class Network(nn.Module):
    """One layer wide enough for ResNet-101's features, and a head; the images are tiny, for it is
    not the network that is measured.
    """

    num_classes: int
    width: int
    network: ClassVar[str] = "classifier"

    def frozen_parameters(self):
        return ()

    @nn.compact
    def __call__(self, images, mode):
        del mode
        features = nn.relu(nn.Dense(self.width, name="layer")(images.reshape(len(images), -1)))
        return Output(features=features, logits=nn.Dense(self.num_classes, name="head")(features))


class Images:
    """An ImageSet's length and labels, or None, without images."""

    def __init__(self, count, labels):
        self.count, self.labels = count, labels

    def __len__(self):
        return self.count


class SyntheticFeed(Feed):
    """dajax.tasks.classification.feed.Feed over images of no file: noise around a pattern of the
    class, moved by a pattern of the domain.
    """

    def __init__(self, num_target, num_sources, per_source, num_classes):
        rng, names = np.random.default_rng(0), [f"source{i}" for i in range(num_sources)]
        self.devices = jax.devices()[:1]
        self.labels = {
            name: rng.permutation(np.arange(per_source, dtype=np.int32) % num_classes)
            for name in names
        }
        self.labels["target"] = rng.permutation(np.arange(num_target, dtype=np.int32) % num_classes)
        self.sets = {name: Images(per_source, self.labels[name]) for name in names} | {
            "target": Images(num_target, None)
        }
        self.class_patterns = CLASS_SPREAD * rng.standard_normal(
            (num_classes, *IMAGE_SHAPE), np.float32
        )
        self.domain_patterns = {
            name: DOMAIN_SPREAD * rng.standard_normal(IMAGE_SHAPE, np.float32) for name in self.sets
        }

    def sequence(self, domain, batch_size, *, views, name):
        del views, name
        count, rng = len(self.sets[domain]), np.random.default_rng(1)
        for first in range(0, count, batch_size):
            index = np.arange(first, first + batch_size)
            labels = self.labels[domain][np.minimum(index, count - 1)]
            image = (
                rng.standard_normal((batch_size, *IMAGE_SHAPE), np.float32)
                + self.class_patterns[labels]
                + self.domain_patterns[domain]
            )
            mask = index < count
            yield {"image": image, "mask": mask, "index": np.where(mask, index, -1)} | (
                {} if domain == "target" else {"label": labels}
            )


class Timed:
    """A function with the wall-clock and processor seconds of its calls, and the process's peak
    memory after the last, in MiB.
    """

    def __init__(self, function):
        self.function, self.measured = function, np.zeros(3)

    def __call__(self, *args, **kwargs):
        started, cpu_started = time.perf_counter(), time.process_time()
        result = jax.block_until_ready(self.function(*args, **kwargs))
        self.measured[:2] += time.perf_counter() - started, time.process_time() - cpu_started
        self.measured[2] = status_mib("VmHWM")
        return result


def prepare(rows, width, num_classes, sources, per_source, rule):
    """The `mscan` stage of configs/mscan.py:domainnet, of so many target images, as a contender;
    see race.py.
    """
    arg = cls_base.parse("domainnet,weights=none")
    config = recipe.mscan_stage(arg, sources)
    config.clustering.ensemble = rule
    feed, model = SyntheticFeed(rows, sources, per_source, num_classes), Network(num_classes, width)
    state = mscan.init(
        jax.random.key(0),
        jnp.zeros((1, *IMAGE_SHAPE)),
        config=config,
        model=model,
        sizes=Sizes(source=sources * per_source, target=rows, num_sources=sources),
    )
    # their memory is taken while the refresh runs
    before = status_mib("VmRSS") + rows * width * 4 / 2**20
    timed = {name: Timed(getattr(module, name)) for name, module in PARTS.items()}
    for name, module in PARTS.items():  # this process runs nothing else
        setattr(module, name, timed[name])

    def run():
        new, summary, _ = mscan.refresh(state, data=feed, config=config, model=model)
        accuracy = np.mean(np.asarray(new.extra["cluster_labels"]) == feed.labels["target"])
        parts = {f"part {name}": part.measured - (0, 0, before) for name, part in timed.items()}
        return parts | {"accuracy": accuracy, "updates": summary["kmeans_updates"]}

    return Prepared(lambda: run, jax.devices()[0])

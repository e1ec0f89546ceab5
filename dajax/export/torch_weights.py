"""safetensors in torch's names: the weights alone, for a program that has the network."""

import dataclasses
import json

import jax
import numpy as np
import safetensors.numpy

from dajax.errors import UserError
from dajax.export import parity
from dajax.models.mean_of_networks import MeanOfNetworks
from dajax.models.seg_weights import from_torch_segmenter
from dajax.models.to_torch import from_own, to_torch
from dajax.models.weight_files import load_torch_file
from dajax.models.weights import from_torch_resnet
from dajax.settings import starts_of

ANY_SIZE = True  # weights have no size of pictures


def require():
    """Nothing: safetensors is there."""


def write(path, trained, program, contract):
    """Writes the file, with the contract in its header; arguments as formats.Format says.

    Raises:
      UserError: the stage averages several networks.
    """
    del program
    network = trained.model.network
    if isinstance(trained.model, MeanOfNetworks):
        starts = starts_of(trained.config[trained.stage].init_from)
        raise UserError(
            f"--stage={trained.stage}: is the mean of {', '.join(starts)}, and safetensors hold one"
            " network; export one of them, or choose another --format"
        )
    entries = to_torch(
        trained.params[network],
        trained.batch_stats[network],
        norm_set=trained.config[trained.stage].target_bn,
    )
    header = {"format": "pt", "dajax": json.dumps(contract)}  # "pt": what torch's readers ask for
    safetensors.numpy.save_file(entries, str(path), metadata=header)


def reader(path, trained):
    """f(images) -> probabilities of dajax with the file's weights, read as config.model.weights
    reads them; see formats.Format.
    """
    again = reloaded(path, trained)
    return lambda images: parity.probabilities(again, images)


def reloaded(path, trained):
    """`trained` with the network of the file in place of its own.

    A segmenter's is read by from_torch_segmenter. Of a classifier from_torch_resnet reads the
    backbone, as at the start of a run; the layers after it are read here.
    """
    network, entries = trained.model.network, load_torch_file(path)
    params, batch_stats = trained.params[network], trained.batch_stats[network]
    nothing = jax.tree.map(np.zeros_like, (params, batch_stats))
    if trained.config.task == "segmentation":
        new_params, new_statistics, _ = from_torch_segmenter(entries, *nothing)
    else:
        new_params, new_statistics = from_own(entries, *nothing)
        new_params["backbone"], new_statistics["backbone"], _ = from_torch_resnet(
            entries, nothing[0]["backbone"], nothing[1]["backbone"]
        )
    return dataclasses.replace(
        trained, params={network: new_params}, batch_stats={network: new_statistics}
    )

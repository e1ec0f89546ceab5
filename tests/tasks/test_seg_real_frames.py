"""Three real Cityscapes frames through reader, transforms, ResNet-101 and evaluation at full size,
as a run on the real data would have it.
"""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from recipe_weights import recipe_state_dict

from dajax.models.deeplab import build_segmenter
from dajax.models.norm import Mode
from dajax.models.seg_weights import from_torch_segmenter
from dajax.recipes import adaptsegnet
from dajax.recipes.base import deeplab
from dajax.recipes.base import segmentation as seg_base
from dajax.tasks.common import Domains
from dajax.tasks.segmentation.evaluate import Protocol, evaluate_segmenter
from dajax.tasks.segmentation.feed import SegFeed
from data_pipeline.segmentation import readers as seg_readers
from data_pipeline.segmentation import transforms as seg_transforms


@pytest.mark.slow
def test_full_frames_pass_through_reader_transforms_network_and_evaluation(shared_data):
    """1024x512 in, 2048x1024 labels out: every pixel that has a class is counted once, and the
    pictures have the right shape.
    """
    root = shared_data / "cityscapes_sample"
    (split,) = [path.name for path in (root / "leftImg8bit").iterdir()]
    images = seg_readers.read_domain(
        dict(dataset="cityscapes", root=str(root), split=split, space="cityscapes")
    )
    transform = seg_transforms.from_config(seg_base.whole_frames(adaptsegnet.TARGET_HW))
    domains = Domains(
        images,
        images,
        images,
        {"evaluation": transform},
        (*adaptsegnet.TARGET_HW, 3),
        images.class_names,
    )
    model = build_segmenter(ConfigDict(deeplab.network("resnet101", "twin", "")), 19, 1)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), np.zeros((1, 65, 65, 3), np.float32), Mode())
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    params, stats, report = from_torch_segmenter(
        recipe_state_dict("clan", ""), zeros["params"], zeros["batch_stats"]
    )
    assert not report.missing and not report.unexpected
    feed = SegFeed(
        domains, seed=0, stage="test", directory=None, devices=jax.devices()[:1], is_oracle=False
    )
    variables = {"params": {"segmenter": params}, "batch_stats": {"segmenter": stats}}
    figures, pictures = evaluate_segmenter(
        variables,
        data=feed,
        model=model,
        protocol=Protocol(norm_set=0, align_corners=True),
        batch_size=1,
        subsets={},
        num_pictures=3,
    )
    labels = [images.read_label(i) for i in range(3)]
    assert {label.shape for label in labels} == {(1024, 2048)}
    expected = np.bincount(np.concatenate([label[label != 255] for label in labels]), minlength=19)
    np.testing.assert_array_equal(np.sum(figures["confusion"], axis=1), expected)
    assert 0 <= figures["miou"] < 20, "random weights"
    assert [picture.shape for picture in pictures.values()] == [(256, 4 * 512 + 6, 3)] * 3

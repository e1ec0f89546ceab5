"""Made-up folders of street frames as a user has them, and runs on them that take seconds."""

import numpy as np
import seg_files
from PIL import Image

CLASSES = ("sky", "road", "car")
COLORS = ((70, 130, 180), (128, 64, 128), (0, 0, 142))
ROWS = tuple(
    f"{k},{name},{k},{r},{g},{b}"
    for k, (name, (r, g, b)) in enumerate(zip(CLASSES, COLORS, strict=True))
)


def write_frames(root, count, *, labelled=True, brightness=1.0, hw=(36, 48), label_name="NAME"):
    """`count` frames in two subfolders: sky above road, a car on it; labels in the colours."""
    ids = np.zeros(hw, int)
    ids[hw[0] // 2 :] = 1
    ids[hw[0] // 2 : hw[0] * 3 // 4, hw[1] // 4 : hw[1] // 2] = 2
    pixels = np.array([(200, 220, 250), (90, 90, 90), (200, 40, 40)])[ids] * brightness
    for i in range(count):
        frame = f"{'ab'[i % 2]}/{i}"
        path = root / f"images/{frame}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels + 3 * i).clip(0, 255).astype(np.uint8)).save(path)
        if labelled:
            path = root / f"labels/{frame.replace(str(i), label_name.replace('NAME', str(i)))}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array(COLORS, np.uint8)[ids]).save(path)
    if labelled:
        seg_files.write_classes(root, *ROWS)
    return root


def few_steps(config):
    """Every stage of a run in two steps of two frames, with one batch for statistics."""
    for name in config.stages:
        config[name].steps, config[name].batch_size = 2, 2
        for key in ("reestimate_batches", "init_batch_size"):
            if key in config[name]:
                config[name][key] = 2
    config.evaluation.update(reestimate_batches=1, reestimate_batch_size=2, num_pictures=1)
    config.runtime.eval_batch_size = 2
    return config

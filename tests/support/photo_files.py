"""Small folders in the layouts of the published data sets."""

import functools
import io

import numpy as np
from PIL import Image
from scipy.io import savemat

from data_pipeline.classification import imageclef, office31, officehome, pacs, visda2017


@functools.cache
def encoded(ending):
    """An 8x6 image as a file's bytes, in the format of an ending in small letters."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 90)).save(
        buffer, Image.registered_extensions().get(ending, "JPEG")
    )
    return buffer.getvalue()


def write_images(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(path.suffix.lower()))


def write_list(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_office31(root, *domains):
    """One image of each class, in all or some of the domains."""
    write_images(
        root,
        *(
            f"{domain}/images/{name}/frame_0001.jpg"
            for domain in domains or office31.DOMAINS
            for name in office31.CLASS_NAMES
        ),
    )


def write_visda2017(root, *, lists=True):
    """An image of each class in train and validation, three in test, whose list has labels."""
    for domain in ("train", "validation"):
        entries = [f"{name}/{domain}_{i}.png" for i, name in enumerate(visda2017.CLASS_NAMES)]
        write_images(root / domain, *entries)
        if lists:
            write_list(
                root / domain / "image_list.txt",
                *(f"{entry} {i}" for i, entry in enumerate(entries)),
            )
    entries = ("trunk00/a.jpg", "trunk00/b.jpg", "trunk01/c.jpg")
    write_images(root / "test", *entries)
    if lists:
        write_list(
            root / "test/image_list.txt", *(f"{entry} {11 - i}" for i, entry in enumerate(entries))
        )


DOMAINNET = {  # list -> lines; sketch has no ant in its train list
    "clipart_train": [
        "clipart/ant/1.jpg 0",
        "clipart/bat/2.jpg 1",
        "clipart/cow/3.jpg 2",
        "clipart/cow/4.jpg 2",
    ],
    "clipart_test": ["clipart/ant/5.jpg 0"],
    "sketch_train": ["sketch/bat/1.jpg 1", "sketch/cow/2.jpg 2"],
    "sketch_test": ["sketch/ant/3.jpg 0", "sketch/cow/4.jpg 2"],
    "real_train": ["real/ant/1.jpg 0", "real/bat/2.jpg 1", "real/cow/3.jpg 2"],
    "real_test": ["real/bat/4.jpg 1", "real/ant/5.jpg 0"],
}


def write_domainnet(root, *, in_folders=False):
    """Three domains of three classes, with the lists of DOMAINNET beside the domains' folders or in
    them.
    """
    for name, lines in DOMAINNET.items():
        write_images(root, *(line.split()[0] for line in lines))
        write_list(root / (name.split("_")[0] if in_folders else "") / f"{name}.txt", *lines)


def write_officehome(root, real_world="Real World"):
    """One image of each class in all domains; the last of them is the folder `real_world`."""
    domains = ("Art", "Clipart", "Product", real_world)
    names = [f"{domain}/{name}/00001.jpg" for domain in domains for name in officehome.CLASS_NAMES]
    write_images(root, *names)


def write_pacs(root):
    """One image of each class in all domains, and a list of splits, which is not read."""
    for domain in pacs.DOMAINS:
        ending = "png" if domain == "sketch" else "jpg"
        names = [f"{domain}/{name}/pic_001.{ending}" for name in pacs.CLASS_NAMES]
        write_images(root, *names)


def write_imageclef(root, *, lists_in="list"):
    """One image of each class in all domains, and the lists, of which Caltech's names a folder that
    is not there.
    """
    for domain in imageclef.DOMAINS:
        files = [f"{name}_1.JPEG" for name in imageclef.CLASS_NAMES]
        write_images(root, *(f"{domain}/{file}" for file in files))
        below = "c/folder" if domain == "c" else domain
        lines = [f"{below}/{file} {class_id}" for class_id, file in enumerate(files)]
        write_list(root / lists_in / f"{domain}List.txt", *lines)


def write_digits_five(root, count=12):
    """Files of MATLAB of all domains: `count` training images and half as many test images."""
    generator = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    sizes = {"train": count, "test": count // 2}
    ids = {split: np.arange(size) % 10 for split, size in sizes.items()}
    columns = {split: of[:, None] for split, of in ids.items()}
    one_hot = {split: np.eye(10)[of] for split, of in ids.items()}

    def pixels(split, *shape):
        return generator.integers(0, 256, (sizes[split], *shape), dtype=np.uint8)

    labels = {f"label_{split}": of for split, of in one_hot.items()}
    grey = {f"{split}_32": pixels(split, 32, 32) for split in sizes}
    savemat(root / "mnist_data.mat", grey | labels)
    savemat(root / "mnistm_with_label.mat", {s: pixels(s, 28, 28, 3) for s in sizes} | labels)
    syn = {f"{split}_data": pixels(split, 32, 32, 3) for split in sizes}
    savemat(root / "syn_number.mat", syn | {f"{s}_label": of for s, of in columns.items()})
    cells = np.empty((2, 2), object)
    for row, split in enumerate(sizes):
        svhn = {
            "X": pixels(split, 32, 32, 3).transpose(1, 2, 3, 0),
            "y": np.where(columns[split] == 0, 10, columns[split]),
        }
        savemat(root / f"svhn_{split}_32x32.mat", svhn)
        cells[row] = pixels(split, 1, 28, 28) / 255.0, columns[split]
    savemat(root / "usps_28x28.mat", {"dataset": cells})

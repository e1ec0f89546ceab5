"""Small folders in the layouts of the published data sets."""

import functools
import io

from PIL import Image

from data_pipeline.classification import office31, visda2017


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

"""Pictures as PNG files."""

import io

import numpy as np
from PIL import Image

from dajax.engine import json_files


def encoded(picture: np.ndarray) -> bytes:
    """The PNG file of uint8 [H, W] (grey) or [H, W, 3]."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    return content.getvalue()


def write(path, picture: np.ndarray):
    """Writes it, whole or not at all; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    json_files.replace_file(path, encoded(picture))

"""Where things lie: local paths, with `~`. Addresses of other worlds are refused before anything is
written.
"""

import os
import re

from dajax.errors import UserError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# JAX itself opens an address here (etils.epath), and a cache that cannot be used stops no run.
_FREE = ("runtime.compilation_cache",)


def local_path(text, key):
    """`text` with `~` expanded.

    Args:
      text: of a file or folder.
      key: what messages call it, e.g. "--workdir".

    Raises:
      UserError: an address, gs://bucket; or the home of a user that the machine does not know.
    """
    _refuse_address(text, key)
    path = os.path.expanduser(text)
    if text.startswith("~") and path == text:
        user = text[1:].partition("/")[0]
        whom = f"no user '{user}'" if user else "no home folder of this user (HOME is not set)"
        raise UserError(
            f"{key}={text}: this machine knows {whom}; write the whole path, or ./{text} for a "
            "folder of that name"
        )
    return path


def check_config(flat):
    """Looks through a whole config.

    Args:
      flat: {"data.root": value, ...}, see config_check.flatten.

    Raises:
      UserError: a value that is an address.
    """
    for key, value in flat.items():
        if isinstance(value, str) and key not in _FREE:
            _refuse_address(value, f"config.{key}")


def _refuse_address(text, key):
    found = _ADDRESS.match(text)
    if found is None:
        return
    if found[1].lower() == "file":
        raise UserError(f"{key}={text}: write the path alone, {text[len(found[0]) :] or '/...'}")
    raise UserError(
        f"{key}={text}: {found[0]} is not supported; dajax reads and writes local or mounted "
        "folders: mount the bucket (gcsfuse, s3fs, "
        "hadoop-fuse ...) or copy what it holds, and name that folder"
    )

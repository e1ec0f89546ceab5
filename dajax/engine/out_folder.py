"""What the folder of --out may hold."""

from dajax.errors import UserError


def names_in(path, purpose):
    """The names in a folder, in order, none where it is not there yet.

    Args:
      path: pathlib.Path; purpose: what the folder is for, as in "the report".

    Raises:
      UserError: it is a file.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"--out={path}: is a file; name a folder for {purpose}")
    return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


def make(path):
    """Makes the folder where it is absent.

    Raises:
      UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out={path}: cannot be made ({error.strerror}); name a folder that this user may"
            " write to"
        ) from error


def refuse_others(path, others):
    """
    Raises:
      UserError: `others`, names that no earlier call has written, is not empty.
    """
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise UserError(
            f"--out={path}: holds other things ({', '.join(others[:3])}{more}); name a new or an"
            " empty folder"
        )

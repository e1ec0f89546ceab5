"""Memory in pages of 2 MiB instead of 4 KiB, for the buffers of XLA on a CPU.

XLA takes the working memory of a step anew at every step. On the drawn scenes, 64x128, the system's work on those pages was a quarter of all processor
time; with large pages one core trains as fast as two did without (configs/clan.py, 30 images/s). glibc reads this setting when a process
begins, so the process begins again.
"""

import os
import sys

_TUNABLES = "GLIBC_TUNABLES"
_ON_REQUEST = "[madvise]"  # neither for all memory nor for none; where they are "always", there is nothing to ask
_STATE_FILE = "/sys/kernel/mm/transparent_hugepage/enabled"


def is_wanted(environ, state_file=_STATE_FILE):
    """Whether beginning again would bring large pages: the system gives them on request, glibc (2.35) can ask, and nobody has set its tunables.

    Args:
      environ: of the process.
      state_file: where Linux says to whom it gives large pages.
    """
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()
        can_ask = name == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 35)
        with open(state_file) as file:
            return can_ask and _TUNABLES not in environ and _ON_REQUEST in file.read()
    except (OSError, ValueError, AttributeError):  # no Linux, or another C library
        return False


def restart_with_huge_pages():
    """Replaces this process by the same command with large pages, where it would bring them. Call it first: nothing before it is kept."""
    if is_wanted(os.environ):
        os.environ[_TUNABLES] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

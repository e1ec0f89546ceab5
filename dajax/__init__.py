"""dajax: unsupervised domain adaptation in JAX. `dajax.load(workdir)` opens a trained model; run.py
trains one.
"""

__version__ = "0.1.0"


def load(workdir, stage=None):
    """Opens a finished or unfinished workdir: see dajax.trained.Trained."""
    from dajax.trained import open_workdir  # here, so that `import dajax` stays cheap

    return open_workdir(workdir, stage)

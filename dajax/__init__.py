"""dajax: unsupervised domain adaptation in JAX. `dajax.load(workdir)` opens a trained model; run.py
trains one.
"""

__version__ = "0.1.0"


def load(workdir, stage=None):
    """Opens a finished or unfinished workdir: see dajax.trained.Trained; or a StableHLO file of
    --mode=export: see dajax.export.exported.Exported.
    """
    # here, so that `import dajax` stays cheap
    import os

    from dajax.open_workdir import open_workdir

    if not os.path.isfile(workdir):
        return open_workdir(workdir, stage)

    from dajax.errors import UserError
    from dajax.export.exported import open_file

    if stage is not None:
        raise UserError(f"{workdir}: is a file of one stage; leave stage={stage!r} out")
    return open_file(workdir)

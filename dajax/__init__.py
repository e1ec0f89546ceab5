"""dajax: unsupervised domain adaptation in JAX. `dajax.load(workdir)` opens a trained model; run.py
trains one.
"""

__version__ = "0.1.0"


def load(workdir, stage=None, select="last"):
    """Opens a finished or unfinished workdir: see dajax.trained.Trained; or a StableHLO file of
    --mode=export: see dajax.export.exported.Exported.

    select="entropy", "im", "snd" or "dev" opens the kept snapshot that this rule picks without
    labels (docs/selection.md).
    """
    # here, so that `import dajax` stays cheap
    import os

    from dajax.open_workdir import open_workdir

    if not os.path.isfile(workdir):
        return open_workdir(workdir, stage, select)

    from dajax.errors import UserError
    from dajax.export.exported import open_file

    if stage is not None:
        raise UserError(f"{workdir}: is a file of one stage; leave stage={stage!r} out")
    if select != "last":
        raise UserError(f"{workdir}: is a file of one snapshot; leave select={select!r} out")
    return open_file(workdir)

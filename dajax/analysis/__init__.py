"""What is said of finished runs: tables, figures, and the analyses of the papers as functions of
arrays. They know no workdir, no network and no data; dajax.report brings those.
"""

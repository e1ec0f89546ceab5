"""The report of finished workdirs (`--mode=analyze`): opens them, asks their networks and their
data, and puts what dajax.analysis makes of it into one page.

    runs            a workdir and what its stages have left
    seen            what a network says of a sample of the images
    context         the networks that are looked at, each asked once
    about, training, predictions, features, pixels
                    the sections of the page, a function each
    sections        their order; `sections.made(context)` makes them all
    out_folder      the folder of --out
    write, show     from workdirs to files; and to the cells of a notebook
"""

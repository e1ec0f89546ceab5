"""The report of finished workdirs (`--mode=analyze`): opens them, asks their networks and their
data, and puts what dajax.analysis makes of it into one page.

    runs            a workdir and what its stages have left
    context         the networks that are looked at, and what they say of a sample of the images
    about, training, predictions, features, pixels
                    the sections of the page, a function each
    sections        their order; `sections.made(context)` makes them all
    out_folder      the folder of --out
    write           from workdirs to files
"""

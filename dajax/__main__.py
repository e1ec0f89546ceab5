"""`python -m dajax`, which is the command `dajax` and run.py.

dajax --config=can
dajax
--config=can:office31,root=DIR,weights=resnet50-19c8e357.pth
dajax --config=can:ablations --seeds=0,1,2
"""

from dajax.cli.main import main

if __name__ == "__main__":
    main()

"""dajax from the command line:

python run.py --config=configs/can.py
python run.py --config=configs/can.py:office31,root=DIR,weights=resnet50-19c8e357.pth
python run.py --config=configs/can.py:ablations --seeds=0,1,2
"""

from dajax.cli.main import main

if __name__ == "__main__":
    main()

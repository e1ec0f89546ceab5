"""`run.py --mode=export`: a trained network as one file for other programs, with its preprocessing
inside, and what opens such a file again.
"""

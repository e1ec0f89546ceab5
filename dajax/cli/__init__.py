"""What run.py does besides training: recipes by name, sweeps, checks of data, and errors as one
line.
"""

"""The training loop, the stages of a run, and all that keeps a run safe: checkpoints, checks,
signals.
"""

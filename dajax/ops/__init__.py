"""Pure functions that are not losses: clustering, prototypes, pseudo-labels, metrics, resizes."""

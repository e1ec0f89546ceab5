"""Pure functions that are not losses: clustering, filtering, metrics."""

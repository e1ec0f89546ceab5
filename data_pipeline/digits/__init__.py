"""The embedded digits: rendered worlds as sources, real handwriting as target."""

"""Sets of images with a label of every pixel, and their batches."""

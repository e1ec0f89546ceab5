"""Sets of images with one label each, and their batches."""

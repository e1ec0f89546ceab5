"""Pure loss functions, one idea a file; they import jax, numpy and optax only."""

"""Flax modules of classifiers, segmenters and discriminators, and pretrained weights. The only
package that imports flax.linen.
"""

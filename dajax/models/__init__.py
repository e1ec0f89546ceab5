"""Flax modules: normalisation, layers, ResNet, the classifier, and pretrained weights. The only
package that imports flax.linen.
"""

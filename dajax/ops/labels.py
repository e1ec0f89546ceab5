"""The meaning of numbers in label maps, for losses and ops."""

# Train id of pixels that count nowhere: Cityscapes' convention, which all released code in this
# field shares. data_pipeline.segmentation.labels has it too; this package must not import that.
IGNORED = 255

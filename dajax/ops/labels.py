"""What numbers in label maps mean to losses and ops."""

# Train id of pixels that count nowhere: Cityscapes' convention, and that of all released code in
# this field. data_pipeline.segmentation.labels, which this package must not need, has it too.
IGNORED = 255

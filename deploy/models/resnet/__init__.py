"""ResNet: a classifier of pictures."""

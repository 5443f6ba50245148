"""Mask R-CNN with ResNet-50 and FPN, as MMDetection defines it."""

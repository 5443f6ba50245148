"""YOLOv3, as MMDetection defines it."""

"""Object detection: YOLO heads of all families, and the queries of DETR."""

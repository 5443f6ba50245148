"""How far a bundle is from its reference: tensors, detections and mAP."""

"""The accuracy of a bundle against its reference: tensors, detections and mAP."""

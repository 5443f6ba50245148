"""Pictures: decoding, preprocessing, detections, masks, suppression and drawing."""

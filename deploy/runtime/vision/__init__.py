"""Pictures: decoding, preprocessing, and suppression of boxes."""

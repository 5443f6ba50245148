"""U-Net: a class for each pixel of a picture."""

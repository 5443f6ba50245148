"""An emulated ARM64 device, and what a bundle of this machine does on it."""

"""The commands of the device, one module each."""

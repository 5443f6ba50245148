"""The fastest engines and threads for a bundle on this device."""

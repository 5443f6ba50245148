"""Child processes: with limits, and for conversions."""

"""Child processes: with limits, for conversions, and to probe a load."""

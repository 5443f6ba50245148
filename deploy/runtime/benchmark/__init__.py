"""Latencies of several bundles or candidates, measured in turns and compared."""

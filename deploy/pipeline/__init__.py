"""A run of all stages in order, jobs and sweeps of runs, the cache, and the work folder."""

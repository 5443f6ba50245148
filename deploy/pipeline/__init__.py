"""The stages in order: a run, a job, a sweep, the cache and the folders."""

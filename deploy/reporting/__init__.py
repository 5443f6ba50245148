"""Pages to look at: what a run or a sweep made, in one HTML file that needs nothing else."""

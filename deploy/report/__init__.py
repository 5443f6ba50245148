"""What a run or sweep made: the console table, and a page that needs nothing else."""

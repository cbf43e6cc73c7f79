"""Methods compared on equal terms: the grid of runs, the statistics, the tables."""

"""Studies: arms x seeds from one file, planned before the first run, run by processes that may die at any time."""

"""Training: the Lightning module, its callbacks, and the job that trains, samples and scores one run."""

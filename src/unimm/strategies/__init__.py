"""Strategies: which parameters train, on which mix of data."""

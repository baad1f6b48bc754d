"""Studies: arms x seeds from one file, planned before the first run, run by processes that may die at any time.

A tuning is a study of its own before the one that reports: the same search with the same budget for every arm. Its arms
are trained on a tuning seed that no study may report and judged on validation prompts, never on the test's images (a
small world repeats its few texts in both).
"""

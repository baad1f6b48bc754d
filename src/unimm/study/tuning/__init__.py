"""Tuning with equal budgets: a study of its own before the one that reports, the same search for every arm.

Arms are trained on a tuning seed that no study may report and judged on validation prompts, never on the test's
images (a small world repeats its few texts in both).
"""

"""Evaluation: what an arm's images and answers are worth."""

"""Objectives: how a head learns and how it is sampled."""

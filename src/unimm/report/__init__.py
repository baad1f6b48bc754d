"""Turns a finished run folder into a page: numbers, samples, curves, provenance. Imports no torch."""

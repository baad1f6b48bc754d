"""Checkpoints of other libraries: where they lie, whether they are whole, and what they are (config files only)."""

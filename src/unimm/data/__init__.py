"""Data: scenes as one map-style dataset; the order is a pure function of (seed, step)."""

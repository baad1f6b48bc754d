"""Heads: (noisy latents, t, conditions) to a prediction."""

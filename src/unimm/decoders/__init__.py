"""Decoders: latents back to images."""

"""Encoders: image to target latents."""

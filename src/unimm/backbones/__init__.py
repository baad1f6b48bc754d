"""Backbones: causal language models with learnable queries."""

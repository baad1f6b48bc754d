"""The embedded world: procedural images with captions, questions and an exact judge. Imports nothing else of unimm."""

"""Generation: prompts to images."""

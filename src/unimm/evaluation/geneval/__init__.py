"""GenEval's own formats: its prompts, its folders of images, its result files."""

"""The pretrained parts that an arm starts from: recipes that train them, and loading with hashes checked."""

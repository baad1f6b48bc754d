"""What trains a foundation: recipes of its parts, their sizes, and the build that writes the verified folder."""

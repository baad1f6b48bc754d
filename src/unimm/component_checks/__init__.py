"""Checks of a component by itself, before hours are spent on runs with it: `unimm check-component`."""

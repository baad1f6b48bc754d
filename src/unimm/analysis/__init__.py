"""Statistics and claims of a study: scores in, intervals and verdicts out. Imports no torch."""

"""The page of a study: evidence, verdicts and their words, tables, figures, and the files beside it."""

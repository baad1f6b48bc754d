"""The registered metrics, a file each; `unimm.evaluation.metric` says what one is."""

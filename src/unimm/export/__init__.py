"""How a finished run leaves its folder: as images (`unimm sample`) and as a model for others (`unimm export`)."""

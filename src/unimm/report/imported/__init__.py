"""Studies of runs that unimm did not make: a table of scores in, the page of a study out; and the way back."""

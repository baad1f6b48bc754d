"""What an arm will cost before anything is downloaded: parameters, memory, work and days, from shapes alone."""

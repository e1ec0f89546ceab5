"""Finding out what is wrong with data: before the first step, and of every file."""

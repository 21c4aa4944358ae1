"""Every file that a run leaves, one module a format: the writer and the readers share it."""

"""Configurations: their keys and defaults, and how a file and the command line make one."""

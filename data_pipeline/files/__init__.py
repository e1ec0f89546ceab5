"""Folders, names and text files as people have them, whatever the task."""

"""The embedded street scenes: a game world and a street world, drawn by this code."""

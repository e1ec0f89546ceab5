"""What recipes start from."""

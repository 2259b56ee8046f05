"""Heads and networks trained on a task, on frozen features or as a whole."""

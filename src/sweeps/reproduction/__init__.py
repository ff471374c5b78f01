"""Repeats a run from what was saved of it, and proves that it is the same or says where it is not."""

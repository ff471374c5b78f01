"""Starts the program as a person does, breaks it at chosen points, and compares what is left."""

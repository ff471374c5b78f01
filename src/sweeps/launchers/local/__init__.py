"""Runs as processes of this machine, one each, forked from a server that has imported what they need."""

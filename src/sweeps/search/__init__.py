"""Search: which settings to try next, and which runs to stop early. Optuna is known here alone.

Everything here is a function of the trials so far. Nothing is remembered besides: the trials are read
from the run folders, so a search that was killed goes on as if it had not been.
"""

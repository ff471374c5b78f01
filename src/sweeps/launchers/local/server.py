"""Imported by the fork server alone: it leaves without tearing down what it has imported.

A library may complain on standard error, when Python ends, of objects that nobody has collected; what is
frozen for the children never is. Its children leave without these handlers, as every forked process.
"""

import atexit
import os

atexit.register(os._exit, 0)

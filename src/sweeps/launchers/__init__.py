"""Where runs are trained: processes, slots by device, and what happens when a process dies."""

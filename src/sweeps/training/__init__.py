"""PyTorch alone: the trainer, its checkpoint, models, losses, schedules and what decides their bits."""

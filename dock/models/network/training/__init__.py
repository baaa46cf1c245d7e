"""Training: losses, optimiser, schedule, the loop, checkpoints, the log."""

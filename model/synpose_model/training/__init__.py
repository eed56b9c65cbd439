"""Training: typed configs in, checkpoints out. The loop is `loop.train`; what it trains is a `task.Task`."""

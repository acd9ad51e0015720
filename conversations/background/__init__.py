"""The tasks family: work that goes on while nobody waits for it."""

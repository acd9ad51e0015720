"""Starts and watches every process of one machine. Knows nothing of Django's database layer."""

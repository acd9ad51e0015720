"""Runs: durable answers, one event log each, whoever reads it and whoever writes it."""

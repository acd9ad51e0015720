"""Sends operations over HTTP, again where that is safe: the same twice, sync and asynchronous."""

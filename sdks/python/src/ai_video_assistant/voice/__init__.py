"""Conversations by voice and text, over the product's WebSocket."""

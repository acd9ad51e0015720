"""What the clients offer beyond the single operations of the API."""

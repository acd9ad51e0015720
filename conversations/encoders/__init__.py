"""One module per API: from the events of a turn to what that API sends. Pure."""

"""What clients and vendors write on the wire, one package a dialect. Pure: no input, no output."""

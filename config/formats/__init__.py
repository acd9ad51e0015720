"""How the console writes dates, where Django's own way takes too much room."""

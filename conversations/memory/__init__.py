"""What assistants know about their users from earlier conversations.

recall    what is known, put before the model        notes    what may be noted; pure
learning  asks the model, keeps what it proposes     tasks    has workers do so after a turn
access    for the user: to read, and to have forgotten
"""

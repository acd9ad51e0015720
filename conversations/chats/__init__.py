"""The agentchat family: dialogs, and answers streamed to whoever waits."""

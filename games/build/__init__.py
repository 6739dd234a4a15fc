"""Options become parts: agents, data, optimizer, trainer."""

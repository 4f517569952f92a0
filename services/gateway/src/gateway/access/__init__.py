"""Who may call and what for: clients, access tokens, roles."""

"""What operators do to one running service: look, and steer; nothing here knows a domain word."""

"""The public paths other services own: each request goes to its owner, the answer comes back as it is."""

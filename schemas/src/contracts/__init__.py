"""The published language: every event a service may know of another, and the topics they travel on."""

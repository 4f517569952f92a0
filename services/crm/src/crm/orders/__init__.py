"""Customer orders: placed, amended and cancelled by customers, followed to delivery by events."""

"""The process of each customer order from placing to delivery, and its shipments."""

"""Items, their bills of materials and routings, and suppliers."""

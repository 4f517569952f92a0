"""Work orders: ERP's released plans as jobs of the shop floor."""

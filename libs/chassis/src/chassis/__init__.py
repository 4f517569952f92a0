"""The microservice chassis: what every service needs and no domain word in it."""

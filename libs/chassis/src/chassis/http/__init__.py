"""The HTTP shell: problem+json, access tokens, idempotent writes, paging, health."""

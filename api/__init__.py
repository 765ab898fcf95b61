"""Identity, sales, catalogue, payments, notifications, support: the REST API and its worker."""

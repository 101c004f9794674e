"""cso_train."""

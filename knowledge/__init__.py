"""What both paths agree on: types, settings, errors, schema, connections, the model."""

"""How a model is called: protocol, servers, embedded model, and layers around any model."""

"""The engine: from losses to gradients, once a method has said in which direction."""

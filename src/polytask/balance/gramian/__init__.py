"""Methods that need inner products of the tasks' gradients; one file each, named in the registry."""

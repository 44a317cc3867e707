"""Methods that need the coordinates of the tasks' gradients; one file each, named in the registry."""

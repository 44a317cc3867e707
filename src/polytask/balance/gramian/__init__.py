"""Methods that need the inner products of the tasks' gradients; one file each, found through :mod:`polytask.balance.registry`."""

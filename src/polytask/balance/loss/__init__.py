"""Methods that need the tasks' loss values only; one file each, found through :mod:`polytask.balance.registry`."""

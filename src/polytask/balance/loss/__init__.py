"""Methods that need the tasks' loss values only; one file each, named in the registry."""

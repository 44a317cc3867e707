"""What a balancing method is: its needs, its evidence, its state, its options."""

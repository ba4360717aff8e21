"""What a person is shown: where things stand, who burns the budget, why an operation waits, how long it will."""

"""The learner: keeps the actors' transitions, trains on them, publishes the newest weights."""

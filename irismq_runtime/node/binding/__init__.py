"""From an actor's class options to its memberships and consumers, and back."""

"""What the card of the joint network says beside its tables."""

NOTES = """
"""

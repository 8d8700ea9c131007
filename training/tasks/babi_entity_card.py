"""What the card of the entity network says beside its tables."""

NOTES = """
## Task

The twenty bAbI tasks of Weston et al. (2015, arXiv 1502.05698), in English, version 1.2, all with one network that is
not told which task it is at. A story is told sentence by sentence; a question has one of 60 answers, of which some
list several words ("apple,milk", "n,e").

Trained on the 10k sets less their held-out part: about 9,000 questions a task. **Task 3 is the exception**: its large
set is not complete here, so it had the 1,725 questions of 345 stories, and 200 questions of 40 whole stories are held
out. Its numbers are of few questions, and no number here is of the official test files, which were not used.

Of the held-out stories every fourth chose the weights; what is reported below was measured on the other three
quarters.
"""

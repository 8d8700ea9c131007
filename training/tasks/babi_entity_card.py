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

## Network

A session's state is the memory, of one size however long the story is. Every sentence is a write into it; no sentence
is kept, so none can be pointed at. The attention says from which matrices of the deep memory each hop took what it
found (`attention.png`). Two memories, whose scores are added
(`training/networks/entity_network.py`), both matrices from addresses to values that are written by the delta rule (the
value at an address is replaced as far as a gate is open):

- A **deep memory** of three layers with four matrices each (32 x 32). A sentence is a linear map of its words side by
  side; in every layer it first reads, then writes, and what it found in one layer decides what it writes in the next.
  A question goes round four times; each time it looks into all twelve matrices.
- A **linear memory**: an end-to-end memory network of three plain hops without softmax (adjacent tying, position
  encoding), which is what lets one matrix a hop (50 x 50) stand for all sentences. It learned task 16 alone first, then
  everything, and is added through a gate that reads the question. It learns what the sum of both still gets wrong, and
  the deep memory learns as if it were alone. It is here for task 16 (induction): in a minute of training on that task
  alone, the deep memory stayed at a guess, and the linear one was at less than 1 % wrong within ten seconds.

Gated writes about entities are of Henaff et al. (2017, arXiv 1612.03969), memories of outer products along a story of
Schlag and Schmidhuber (2018, arXiv 1811.12143), the delta rule as a write of Schlag et al. (2021, arXiv 2102.11174),
and the way to train on whole stories at once of Yang et al. (2024, arXiv 2406.06484).

The longest story trained on has 228 sentences. A memory of fixed size cannot keep everything: what a longer story told
first is the more likely to be overwritten the more was told after it.

Words that the network does not know mean nothing to it: they become a vector of zeros. It has only ever seen the 145
words and the phrasing of these tasks; what it answers to anything else is a guess, whatever its probability.
"""

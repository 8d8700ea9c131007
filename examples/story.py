"""Ask questions about a story that grows: the session is the memory, whoever tells and whoever asks.

python examples/story.py
"""

from __future__ import annotations

from own_server import serving

import tapehead

STORY = [
    "Mary got the football there.",
    "Mary travelled to the garden.",
    "John went to the kitchen.",
    "Mary dropped the football.",
    "John moved to the hallway.",
]
QUESTIONS = {2: "Where is Mary?", 3: "Where is John?", 5: "Where is John?"}  # after so many sentences


def main() -> None:
    with serving() as server:
        for told, sentence in enumerate(STORY, start=1):
            # A new connection for each sentence: what was told lies with the session, not with the client.
            with tapehead.connect(server) as client:
                story = client.conversation("babi-qa", session_id="example-story")
                if story.told_count < told:  # a second run of this program finds it told
                    story.tell(sentence)
                print(sentence)
                if question := QUESTIONS.get(told):
                    print(f"    {question} {story.ask(question).text}")
        with tapehead.connect(server) as client:
            client.sessions.delete("example-story")


if __name__ == "__main__":
    main()

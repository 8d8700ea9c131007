"""Long checks that are run on purpose, with their results in docs/track-record.md; the tests run short ones."""

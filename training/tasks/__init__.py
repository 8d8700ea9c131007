"""The tasks: their data, what is measured on them, and how a person looks at them."""

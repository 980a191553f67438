"""The paper's cells at its own scale, for a card that is there for minutes: what is measured already is not measured again."""

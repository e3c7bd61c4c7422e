"""OpenAI's nouns in wire form: plain dicts, keys in the order of the wire, `id` first. No I/O and no Flask in here."""

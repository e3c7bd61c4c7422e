"""Software that nobody here wrote, against the real processes: SDKs of several years and languages, and frameworks on top of them."""

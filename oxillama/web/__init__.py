"""The HTTP side: Flask, one blueprint per noun. A view parses, calls and answers; the rules live below it."""

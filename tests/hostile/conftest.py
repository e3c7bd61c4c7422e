"""The server and the objects of tests/web, which must all be as they were after whatever is sent."""

from tests.web.conftest import bare, objects, unchanged

__all__ = ["bare", "objects", "unchanged"]

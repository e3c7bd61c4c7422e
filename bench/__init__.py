"""What the server costs, as ratios against something that is measured in the same run: `make bench`, or `python -m bench NAME`."""

"""Hostile clients and good ones on the whole server: nothing dies, memory stays bounded, and the good ones hardly notice."""

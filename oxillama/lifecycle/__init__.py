"""The only code that changes what a thread or run is: under the thread's lock, the object first, then the event."""

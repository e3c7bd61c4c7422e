"""Every way to die: each operation of the store and of the lifecycle, killed or cut off from its power at every step it takes."""

"""The console: pages that show what happens, try what will be sent, and steer."""

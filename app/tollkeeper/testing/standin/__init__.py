"""What every stand-in is made of: a door that can fail on purpose, a server, control over HTTP, and the way back in."""

"""The HTTP server: TagoIO's device and data API in front of one engine. Needs the `server` extra."""

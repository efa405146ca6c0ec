"""MQTT 3.1.1 and 5.0: a listener through which devices send points, and hear from the server. It is no broker."""

"""Where frames come from besides HTTP: MQTT, MJPEG, RTSP, V4L2 and recordings; each a thread that heals itself."""

"""Ways out for alerts: a webhook, MQTT, standard output, and chat, mail or SMS."""

"""The status page: cameras, availability, open alerts and the last day, in English and French; no pictures."""

"""The scan: what was seen of certificates anywhere, judged, forecast and reported."""

"""The live console: server-rendered pages, the fleet map, a card's last hour. No build step, a strict CSP."""

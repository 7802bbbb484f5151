"""Running jobs that hang, are held up by one card, or starve: what the minutes of their cards, ports and hosts say."""

"""A dataset scored by many workers that share nothing but a folder."""

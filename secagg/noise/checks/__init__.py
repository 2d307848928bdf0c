"""What can be measured of the noise in sums; each check says what it cannot see."""

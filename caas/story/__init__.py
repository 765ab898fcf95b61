"""The main job, told by a client that only uses what anybody could: REST, mail, and the car."""

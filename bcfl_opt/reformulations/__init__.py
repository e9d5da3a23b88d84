"""How does a follower's optimality become constraints of the leader? One reformulation a file."""

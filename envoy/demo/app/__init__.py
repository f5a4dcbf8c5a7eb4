"""The expenses service that Envoy and Edict guard."""

"""Reading and writing the environment repository: certs.yml, the vault, rotation.yml, claims."""

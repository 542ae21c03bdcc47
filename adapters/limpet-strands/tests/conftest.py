pytest_plugins = ["proof.databases"]

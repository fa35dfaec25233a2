"""Stand-ins for the parts of Azure that cannot run here; the real SDKs and the real worker talk to them."""

"""ikestream: IPsec tunnels of Azure VPN gateways, diagnosed from their IKE logs.

The folder listing is the way of the data; DESIGN in one line:
bytes -> envelope -> events -> grammar -> offers -> tunnel -> status -> rules -> episode -> incident -> output.
"""

__version__ = "0.1.0"
